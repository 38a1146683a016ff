#include "engine/postgres/base_backup.h"

#include <gtest/gtest.h>

#include "engine/postgres/base_backup_message.h"

namespace varve::engine::postgres {
namespace {

Buffer message(std::string_view text) {
  return to_buffer(as_bytes(text));
}
using std::string_view_literals::operator""sv;

TEST(BaseBackupCommand, IsInTheWordsOfTheVersion) {
  const BaseBackupOptions plain{.label = "it's"};
  EXPECT_EQ(base_backup_command(13, plain),
            "BASE_BACKUP LABEL 'it''s' PROGRESS FAST NOWAIT TABLESPACE_MAP NOVERIFY_CHECKSUMS");
  EXPECT_EQ(base_backup_command(15, plain),
            "BASE_BACKUP (LABEL 'it''s', PROGRESS true, CHECKPOINT 'fast', WAIT false, TABLESPACE_MAP true, "
            "VERIFY_CHECKSUMS false)");
  const BaseBackupOptions slow{.label = "x", .fast_checkpoint = false, .read_rate = 5 << 20};
  EXPECT_EQ(base_backup_command(14, slow),
            "BASE_BACKUP LABEL 'x' PROGRESS NOWAIT MAX_RATE 5120 TABLESPACE_MAP NOVERIFY_CHECKSUMS");
  EXPECT_EQ(base_backup_command(18, slow),
            "BASE_BACKUP (LABEL 'x', PROGRESS true, CHECKPOINT 'spread', WAIT false, MAX_RATE 5120, "
            "TABLESPACE_MAP true, VERIFY_CHECKSUMS false)");
}

TEST(BackupMessage, OfEachKind) {
  const auto begin = parse_backup_message(message("n16400.tar\0/srv/fast\0"sv));
  ASSERT_TRUE(begin);
  ASSERT_TRUE(std::holds_alternative<ArchiveBegin>(*begin));
  EXPECT_EQ(std::get<ArchiveBegin>(*begin).name, "16400.tar");
  EXPECT_EQ(std::get<ArchiveBegin>(*begin).location, "/srv/fast");
  const Buffer bytes = message("dabc");
  const auto data = parse_backup_message(bytes);
  ASSERT_TRUE(data);
  EXPECT_EQ(as_text(std::get<ArchiveData>(*data).bytes), "abc");
  const auto progress = parse_backup_message(message("p\0\0\0\0\0\0\1\2"sv));
  ASSERT_TRUE(progress);
  EXPECT_EQ(std::get<BackupProgress>(*progress).bytes, 258u);
}

TEST(BackupMessage, RefusesWhatIsNone) {
  for (const std::string_view bad : {""sv, "m"sv, "x"sv, "n"sv, "nbase.tar"sv, "nbase.tar\0"sv, "n\0\0"sv,
                                     "nbase.tar\0\0more"sv, "p\0\0\0"sv, "p\0\0\0\0\0\0\0\0\0"sv})
    EXPECT_FALSE(parse_backup_message(message(bad))) << bad;
}

}  // namespace
}  // namespace varve::engine::postgres
