#include "store/s3/environment.h"

#include <cstdlib>
#include <fmt/format.h>

#include "base/text.h"
#include "os/file.h"

namespace varve::store::s3 {
namespace {

constexpr size_t kMostFile = size_t{1} << 20;

tl::unexpected<Error> unreadable(size_t line, std::string_view why) {
  return fail(Code::kUsage, fmt::format("line {}: {}", line, why));
}

bool is_space(char c) {
  return c == ' ' || c == '\t';
}

std::string_view without_comment(std::string_view value) {
  for (size_t i = 1; i < value.size(); ++i)
    if ((value[i] == '#' || value[i] == ';') && is_space(value[i - 1])) return trim(value.substr(0, i));
  return value;
}

// "[ profile  ops ]" and "[profile "ops"]" are "profile ops".
std::string title_of(std::string_view inside) {
  inside = trim(inside);
  const size_t space = inside.find_first_of(" \t");
  if (space == inside.npos) return std::string(inside);
  std::string_view name = trim(inside.substr(space));
  if (name.size() >= 2 && (name.front() == '"' || name.front() == '\'') && name.back() == name.front())
    name = name.substr(1, name.size() - 2);
  return fmt::format("{} {}", inside.substr(0, space), name);
}

Result<std::map<std::string, IniSection>> read(const std::string& path) {
  TRY_ASSIGN(const auto status, os::status(path));
  if (!status) return std::map<std::string, IniSection>{};
  TRY_ASSIGN(const Buffer bytes, os::read_file(path, kMostFile));
  auto out = parse_ini(as_text(bytes));
  if (!out) return fail(std::move(out).error().with_context("reading " + printable(path)));
  return out;
}

std::string path_of(const Environment& env, std::string_view variable, std::string_view name) {
  const std::string home = env("HOME"), set = env(variable);
  if (set.starts_with("~/")) return home + set.substr(1);
  if (!set.empty()) return set;
  return home.empty() ? "" : fmt::format("{}/.aws/{}", home, name);
}

}  // namespace

Environment process_environment() {
  return [](std::string_view name) {
    const char* value = std::getenv(std::string(name).c_str());
    return std::string(value ? value : "");
  };
}

Result<std::map<std::string, IniSection>> parse_ini(std::string_view text) {
  std::map<std::string, IniSection> out;
  IniSection* section = nullptr;
  size_t number = 0;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  for (std::string_view line : split(text, '\n')) {
    ++number;
    if (line.find('\0') != line.npos) return unreadable(number, "it holds a zero byte");
    const std::string_view content = trim(line);
    if (content.empty() || content[0] == '#' || content[0] == ';') continue;
    if (is_space(line[0])) continue;  // belongs to the setting above
    if (content[0] == '[') {
      const size_t end = content.find(']');
      if (end == content.npos) return unreadable(number, "a section's name has no ']'");
      section = &out[title_of(content.substr(1, end - 1))];
      continue;
    }
    const size_t equals = content.find('=');
    if (equals == content.npos || equals == 0)
      return unreadable(number, "it is neither [section] nor name = value");
    if (!section) return unreadable(number, "a setting stands before the first [section]");
    const std::string name = to_lower(trim(content.substr(0, equals)));
    const std::string_view value = trim(content.substr(equals + 1));
    (*section)[name] = name == "credential_process" ? value : without_comment(value);
  }
  return out;
}

Result<Profiles> Profiles::load(const Environment& env) {
  Profiles out;
  if (const auto path = path_of(env, "AWS_CONFIG_FILE", "config"); !path.empty()) {
    TRY_ASSIGN(out.config_, read(path));
  }
  if (const auto path = path_of(env, "AWS_SHARED_CREDENTIALS_FILE", "credentials"); !path.empty()) {
    TRY_ASSIGN(out.credentials_, read(path));
  }
  return out;
}

std::optional<IniSection> Profiles::find(const std::string& name) const {
  std::optional<IniSection> out;
  const auto take = [&](const std::map<std::string, IniSection>& file, const std::string& title) {
    const auto at = file.find(title);
    if (at == file.end()) return;
    if (!out) out.emplace();
    for (const auto& [key, value] : at->second) (*out)[key] = value;
  };
  if (name == "default") take(config_, "default");
  take(config_, "profile " + name);
  take(credentials_, name);
  return out;
}

}  // namespace varve::store::s3
