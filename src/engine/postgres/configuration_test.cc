#include "engine/postgres/configuration.h"

#include <gtest/gtest.h>

namespace varve::engine::postgres {
namespace {

std::string moved(std::string_view text, const char* within = ".", std::vector<std::string>* out = nullptr) {
  std::vector<std::string> folders;
  std::string result = moved_configuration(text, "/etc/postgresql/15/main", within, folders);
  if (out) *out = folders;
  return result;
}

TEST(MovedConfiguration, PlacesBecomeComments) {
  EXPECT_EQ(moved("data_directory = '/srv/pg' # here\n  HBA_File "
                  "'/etc/x'\nident_file=/etc/y\nexternal_pid_file=''\n"),
            "# varve restore: data_directory = '/srv/pg' # here\n# varve restore:   HBA_File '/etc/x'\n"
            "# varve restore: ident_file=/etc/y\n# varve restore: external_pid_file=''\n");
}

TEST(MovedConfiguration, EverythingElseStays) {
  const std::string text =
      "# a comment\n\nwork_mem = '4MB'\nport 5433\nbroken = 'x\n=\ndata_directory\nshared_buffers=128MB # x\n"
      "search_path = '\"$user\", public'\nhba_files = 'x'";
  EXPECT_EQ(moved(text), text);
}

TEST(MovedConfiguration, IncludesBecomeRelative) {
  std::vector<std::string> folders;
  EXPECT_EQ(moved("include_dir 'conf.d'\ninclude = '/etc/postgresql/15/main/it''s.conf'\n"
                  "include_if_exists '/etc/other.conf'\ninclude_dir = '/etc/postgresql/15/main/a/../more.d'\n"
                  "include_dir '../aside'",
                  ".", &folders),
            "include_dir 'conf.d'\ninclude 'it''s.conf'\ninclude_if_exists '/etc/other.conf'\ninclude_dir "
            "'more.d'\n"
            "include_dir '../aside'");
  EXPECT_EQ(folders, (std::vector<std::string>{"conf.d", "more.d"}));
  EXPECT_EQ(moved("include '/etc/postgresql/15/main/x.conf'\ninclude_dir 'deeper'", "conf.d", &folders),
            "include '../x.conf'\ninclude_dir 'deeper'");
  EXPECT_EQ(folders, std::vector<std::string>{"conf.d/deeper"});
}

}  // namespace
}  // namespace varve::engine::postgres
