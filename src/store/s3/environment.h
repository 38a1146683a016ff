// The environment variables and the two files that every tool for Amazon's services reads.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace varve::store::s3 {

// The value of a variable; empty when it is not set, which means the same here.
using Environment = std::function<std::string(std::string_view name)>;
Environment process_environment();

using IniSection = std::map<std::string, std::string>;  // names in lower case
// Sections by their whole title: "default", "profile ops". Lines that are indented below a setting belong to
// it and are left out; '#' and ';' begin a comment, at the start of a line or after a space (not in
// credential_process). kUsage, with the number of the line and never its text, for what cannot be read.
Result<std::map<std::string, IniSection>> parse_ini(std::string_view text);

// ~/.aws/config and ~/.aws/credentials, or where AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE say. What is
// not there is empty.
class Profiles {
 public:
  static Result<Profiles> load(const Environment& env);
  // The settings of a profile from both files; keys from the credentials file win.
  std::optional<IniSection> find(const std::string& name) const;

 private:
  std::map<std::string, IniSection> config_, credentials_;
};

}  // namespace varve::store::s3
