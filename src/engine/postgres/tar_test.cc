#include "engine/postgres/tar.h"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "os/file.h"
#include "os/process.h"

namespace varve::engine::postgres {
namespace {

// As tarCreateHeader() writes it.
struct Header {
  std::string name = "base/5/1259";
  char type = '0';
  uint64_t size = 0;
  uint32_t mode = 0100600, uid = 70, gid = 71;
  uint64_t mtime = 1'700'000'000;
  std::string link = {};

  Buffer block() const {
    std::string out(kTarBlock, '\0');
    put(out, 0, name);
    put(out, 100, fmt::format("{:07o} ", mode));
    put(out, 108, fmt::format("{:07o} ", uid));
    put(out, 116, fmt::format("{:07o} ", gid));
    put(out, 124, size < uint64_t{1} << 33 ? fmt::format("{:011o} ", size) : big(size));
    put(out, 136, fmt::format("{:011o} ", mtime));
    out[156] = type;
    put(out, 157, link);
    put(out, 257, std::string_view("ustar\00000", 8));
    put(out, 265, "postgres");
    put(out, 297, "postgres");
    put(out, 329, "0000000 ");
    put(out, 337, "0000000 ");
    return sealed(out);
  }
  static Buffer sealed(std::string block) {
    put(block, 148, "        ");
    uint32_t sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(block, 148, fmt::format("{:07o} ", sum));
    return to_buffer(as_bytes(block));
  }
  static void put(std::string& out, size_t at, std::string_view text) { out.replace(at, text.size(), text); }
  static std::string big(uint64_t n) {
    std::string out(12, '\0');
    out[0] = '\x80';
    for (size_t i = 11; n > 0; --i, n >>= 8) out[i] = static_cast<char>(n & 0xff);
    return out;
  }
};

Buffer archive(const std::vector<std::pair<Header, std::string>>& files, bool terminated = true) {
  Buffer out;
  for (const auto& [header, content] : files) {
    append(out, header.block());
    append(out, as_bytes(content));
    append(out, Buffer((kTarBlock - content.size() % kTarBlock) % kTarBlock, std::byte{0}));
  }
  if (terminated) append(out, Buffer(2 * kTarBlock, std::byte{0}));
  return out;
}

TarReader::More portions(ByteView& rest, size_t size) {
  return [&rest, size](Buffer& bytes) -> Result<bool> {
    bytes = to_buffer(rest.first(std::min(size, rest.size())));
    rest = rest.subspan(bytes.size());
    return !bytes.empty();
  };
}

// "path=content" of each entry, folders with a slash; or the error's message.
std::vector<std::string> read_all(ByteView bytes, size_t portion, bool terminated = true) {
  TarReader reader(portions(bytes, portion), terminated);
  std::vector<std::string> out;
  for (;;) {
    const auto entry = reader.next();
    if (!entry) {
      out.push_back("error: " + entry.error().message);
      return out;
    }
    if (!*entry) return out;
    std::string content((*entry)->size, '?');
    if (const auto done = reader.read(std::as_writable_bytes(std::span(content))); !done) {
      out.push_back("error: " + done.error().message);
      return out;
    }
    out.push_back((*entry)->path + ((*entry)->type == FileType::kDirectory ? "/" : "=" + content));
  }
}

TEST(Tar, HeaderAsTheServerWritesIt) {
  const auto entry = parse_tar_header(Header{.size = 12345}.block());
  ASSERT_TRUE(entry && *entry);
  EXPECT_EQ((*entry)->path, "base/5/1259");
  EXPECT_EQ((*entry)->size, 12345u);
  EXPECT_EQ((*entry)->mode, 0600u);
  EXPECT_EQ((*entry)->uid, 70u);
  EXPECT_EQ((*entry)->gid, 71u);
  EXPECT_EQ((*entry)->mtime_us, 1'700'000'000'000'000);
  const auto folder =
      parse_tar_header(Header{.name = "./pg_wal/archive_status/", .type = '5', .mode = 040700}.block());
  ASSERT_TRUE(folder && *folder);
  EXPECT_EQ((*folder)->path, "pg_wal/archive_status");
  EXPECT_EQ((*folder)->type, FileType::kDirectory);
  const auto large = parse_tar_header(Header{.size = uint64_t{40} << 30}.block());
  ASSERT_TRUE(large && *large);
  EXPECT_EQ((*large)->size, uint64_t{40} << 30);
  const auto link =
      parse_tar_header(Header{.name = "pg_tblspc/1/", .type = '2', .link = "/srv/fast"}.block());
  ASSERT_TRUE(link && *link);
  EXPECT_EQ((*link)->link_target, "/srv/fast");
  const auto zeros = parse_tar_header(Buffer(kTarBlock, std::byte{0}));
  ASSERT_TRUE(zeros);
  EXPECT_FALSE(*zeros);
}

TEST(Tar, RefusesWhatTheServerNeverWrites) {
  std::vector<Buffer> bad = {
      Header{.name = ""}.block(),
      Header{.name = "/etc/passwd"}.block(),
      Header{.name = "base/../x"}.block(),
      Header{.name = "././base"}.block(),
      Header{.name = "base//5"}.block(),
      Header{.name = "base/5/"}.block(),
      Header{.type = '1'}.block(),
      Header{.type = 'x'}.block(),
      Header{.type = 'L'}.block(),
      Header{.type = '2'}.block(),
      Header{.name = "a/", .type = '5', .size = 512}.block(),
      Header{.size = uint64_t{1} << 50}.block(),
      Buffer(kTarBlock - 1, std::byte{0}),
  };
  Buffer flipped = Header{}.block();
  flipped[3] ^= std::byte{1};
  bad.push_back(flipped);
  for (const auto& [at, text] : std::vector<std::pair<size_t, std::string>>{
           {345, "prefix"}, {124, "12x45678901 "}, {124, "            "}, {257, "ustar  "}, {50, "beyond"}}) {
    std::string block(as_text(Header{}.block()));
    Header::put(block, at, text);
    bad.push_back(Header::sealed(block));
  }
  for (size_t i = 0; i < bad.size(); ++i) EXPECT_FALSE(parse_tar_header(bad[i])) << i;
}

TEST(Tar, ReadsArchivesInAnyPortions) {
  const std::string content(1000, 'x');
  const Buffer bytes = archive({{{.name = "base/", .type = '5'}, ""},
                                {{.name = "base/1", .size = 1000}, content},
                                {{.name = "empty"}, ""},
                                {{.name = "whole", .size = 512}, std::string(512, 'y')}});
  const std::vector<std::string> expected = {"base/", "base/1=" + content,
                                             "empty=", "whole=" + std::string(512, 'y')};
  for (const size_t portion : {1u, 7u, 511u, 512u, 513u, 4096u, 1u << 20})
    EXPECT_EQ(read_all(bytes, portion), expected);
  // What is not read is passed over.
  ByteView rest = bytes;
  TarReader reader(portions(rest, 100), true);
  for (const auto& path : {"base", "base/1", "empty", "whole"}) {
    const auto entry = reader.next();
    ASSERT_TRUE(entry && *entry);
    EXPECT_EQ((*entry)->path, path);
  }
  const auto end = reader.next();
  ASSERT_TRUE(end);
  EXPECT_FALSE(*end);
}

// A stream that ends anywhere but at its end is an error.
TEST(Tar, CutAnywhere) {
  const Buffer bytes = archive({{{.name = "a", .size = 700}, std::string(700, 'x')}, {{.name = "b"}, ""}});
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto found = read_all(ByteView(bytes).first(n), 4096);
    ASSERT_FALSE(found.empty()) << n;
    EXPECT_TRUE(found.back().starts_with("error: ")) << n;
  }
  // Servers before 15 end an archive without a word: there only whole entries can be asked for.
  const Buffer open =
      archive({{{.name = "a", .size = 700}, std::string(700, 'x')}, {{.name = "b"}, ""}}, false);
  EXPECT_EQ(read_all(open, 4096, false).back(), "b=");
  for (size_t n = 1; n < open.size(); ++n) {
    if (n % kTarBlock != 0 || n == kTarBlock || n == 2 * kTarBlock)
      EXPECT_TRUE(read_all(ByteView(open).first(n), 4096, false).back().starts_with("error: ")) << n;
  }
}

TEST(Tar, GoesOnAfterItsEnd) {
  Buffer bytes = archive({{{.name = "a"}, ""}});
  append(bytes, Header{.name = "b"}.block());
  EXPECT_TRUE(read_all(bytes, 4096).back().starts_with("error: "));
  Buffer half = archive({{{.name = "a"}, ""}}, false);
  append(half, Buffer(kTarBlock, std::byte{0}));
  append(half, Header{.name = "b"}.block());
  EXPECT_TRUE(read_all(half, 4096).back().starts_with("error: "));
}

// GNU tar as the witness that the headers above are such.
TEST(Tar, GnuTarReadsTheSame) {
  const Buffer bytes = archive({{{.name = "base/", .type = '5', .mode = 040700}, ""},
                                {{.name = "base/1", .size = 1000}, std::string(1000, 'x')}});
  const auto listed =
      os::run(Context{}.with_deadline(std::chrono::seconds(30)), {"tar", "-tf", "-"}, bytes, 1 << 20);
  ASSERT_TRUE(listed);
  EXPECT_EQ(as_text(listed->out), "base/\nbase/1\n");
}

}  // namespace
}  // namespace varve::engine::postgres
