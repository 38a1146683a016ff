#include "plan/config.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <toml++/toml.h>

#include "base/text.h"

namespace varve::plan {
namespace {

std::string quoted_list(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& w : words) out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", printable(w));
  return out;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& known, std::string_view what) {
  const auto near = nearest(word, known, 1);
  if (!near.empty()) return fmt::format("did you mean \"{}\"?", printable(near[0]));
  if (known.empty()) return fmt::format("there are no {}", what);
  return fmt::format("{}: {}", what, quoted_list(known));
}

// As an object's name allows: a source's name is part of names in the repository.
bool good_name(std::string_view name) {
  const auto alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > 120 || !alnum(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) {
    return alnum(c) || std::string_view("._=@+-").find(c) != std::string_view::npos;
  });
}

bool good_clock(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.size() != 5 || text[2] != ':') return false;
  if (!digit(text[0]) || !digit(text[1]) || !digit(text[3]) || !digit(text[4])) return false;
  return (text[0] - '0') * 10 + (text[1] - '0') < 24 && text[3] < '6';
}

// "hourly", "daily 02:00", "Sun 02:00"; for the log also "continuous".
bool good_schedule(std::string_view text, bool log) {
  if (text == "hourly") return true;
  if (text == "continuous") return log;
  const auto words = split(text, ' ');
  if (words.size() != 2 || !good_clock(words[1])) return false;
  static constexpr std::string_view kDays[] = {"daily", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
  return std::find(std::begin(kDays), std::end(kDays), words[0]) != std::end(kDays);
}

// Where the file stands decides what a relative path in it means, not where the command runs.
std::string resolve(const std::string& file, const std::string& path) {
  if (path.empty() || path[0] == '/' || file.empty()) return path;
  const auto folder = std::filesystem::path(file).parent_path();
  return folder.empty() ? path : (folder / path).lexically_normal().string();
}

std::string resolve_url(const std::string& file, const std::string& url) {
  return url.find("://") == std::string::npos ? resolve(file, url) : url;
}

// One table of the file: reads fields by name and remembers what was asked for, so that a key nobody asked
// for is known.
class Section {
 public:
  Section(const std::string& file, std::string title, const toml::table& table)
      : file_(file), title_(std::move(title)), table_(table) {}

  static Error at(const std::string& file, const toml::source_region& where, std::string message,
                  std::string hint = {}) {
    return Error{Code::kUsage, fmt::format("{}:{}: {}", file, where.begin.line, message), std::move(hint)};
  }
  Error error(std::string_view key, std::string message, std::string hint = {}) const {
    const toml::node* node = table_.get(key);
    return at(file_, node ? node->source() : table_.source(), std::move(message), std::move(hint));
  }

  Result<> read(const char* key, std::string& out) {
    const toml::node* node = find(key);
    if (!node) return {};
    const auto* text = node->as_string();
    if (!text) return fail(wrong_type(key, "text in quotes"));
    out = text->get();
    if (out.find('\0') != std::string::npos)
      return fail(error(key, fmt::format("\"{}\" has a zero byte in it", key)));
    return {};
  }
  Result<> read(const char* key, uint32_t& out) {
    const toml::node* node = find(key);
    if (!node) return {};
    const auto* number = node->as_integer();
    if (!number || number->get() < 0 || number->get() > 100'000)
      return fail(wrong_type(key, "a whole number from 0 to 100000"));
    out = static_cast<uint32_t>(number->get());
    return {};
  }
  Result<> read(const char* key, std::optional<Seconds>& out) {
    if (!find(key)) return {};
    std::string text;
    TRY_OK(read(key, text));
    auto duration = parse_duration(text);
    if (!duration) return fail(error(key, duration.error().message, duration.error().hint));
    out = *duration;
    return {};
  }
  Result<> read_size(const char* key, uint64_t& out) {
    const toml::node* node = find(key);
    if (!node) return {};
    if (const auto* number = node->as_integer(); number && number->get() >= 0) {
      out = static_cast<uint64_t>(number->get());
      return {};
    }
    std::string text;
    TRY_OK(read(key, text));
    auto size = parse_size(text);
    if (!size) return fail(error(key, size.error().message, size.error().hint));
    out = *size;
    return {};
  }
  Result<> read(const char* key, std::vector<std::string>& out) {
    const toml::node* node = find(key);
    if (!node) return {};
    const auto* list = node->as_array();
    if (!list) return fail(wrong_type(key, "a list such as [\"main\"]"));
    for (const toml::node& item : *list) {
      const auto* text = item.as_string();
      if (!text) return fail(wrong_type(key, "a list of texts such as [\"main\"]"));
      out.push_back(text->get());
    }
    return {};
  }
  // A size a second, or one for each part of the day: { "08:00-18:00" = "5MiB", otherwise = "50MiB" }.
  Result<> read(const char* key, RateLimit& out) {
    const toml::node* node = find(key);
    if (!node) return {};
    if (!node->is_table()) return read_size(key, out.otherwise);
    Section parts(file_, fmt::format("{} of {}", key, title_), *node->as_table());
    TRY_OK(parts.read_size("otherwise", out.otherwise));
    for (const auto& [part, rate] : *node->as_table()) {
      if (part.str() == "otherwise") continue;
      const std::string text(part.str());
      auto span = parse_span(text);
      if (!span) return fail(at(file_, part.source(), span.error().message, span.error().hint));
      TRY_OK(parts.read_size(text.c_str(), span->rate));
      out.spans.push_back(*span);
    }
    return {};
  }
  // Text, or a number or truth as it is written.
  Result<> read_setting(const char* key, store::Settings& out) {
    const toml::node* node = find(key);
    if (!node) return {};
    if (const auto* truth = node->as_boolean()) return out.set(key, truth->get() ? "true" : "false");
    if (const auto* number = node->as_integer()) return out.set(key, std::to_string(number->get()));
    std::string text;
    TRY_OK(read(key, text));
    return out.set(key, std::move(text));
  }
  Result<const toml::table*> table(const char* key) {
    const toml::node* node = find(key);
    if (!node) return nullptr;
    if (!node->as_table()) return fail(wrong_type(key, "a table such as { daily = 7 }"));
    return node->as_table();
  }
  // Whatever was not asked for is a mistake: a misspelt retention must not silently mean "none".
  Result<> finish() const {
    for (const auto& [key, node] : table_) {
      if (std::find(known_.begin(), known_.end(), key.str()) != known_.end()) continue;
      return fail(at(file_, key.source(),
                     fmt::format("unknown key \"{}\" in {}", printable(key.str()), title_),
                     suggestion(key.str(), known_, "known keys")));
    }
    return {};
  }
  const std::string& title() const { return title_; }
  const std::string& file() const { return file_; }

 private:
  const toml::node* find(const char* key) {
    known_.emplace_back(key);
    return table_.get(key);
  }
  Error wrong_type(const char* key, std::string_view wanted) const {
    return error(key, fmt::format("\"{}\" in {} must be {}", key, title_, wanted));
  }

  const std::string& file_;
  std::string title_;
  const toml::table& table_;
  std::vector<std::string> known_;
};

Result<> read_repository(Section& in, RepositoryConfig& out) {
  TRY_OK(in.read("url", out.url));
  TRY_OK(in.read("encryption", out.encryption));
  TRY_OK(in.read("passphrase_file", out.passphrase_file));
  TRY_OK(in.read("passphrase_command", out.passphrase_command));
  TRY_OK(in.read("key_file", out.key_file));
  TRY_OK(in.read("key_command", out.key_command));
  TRY_OK(in.read("limit_rate", out.limit_rate));
  TRY_OK(in.read("retain", out.retain));
  if (out.url.empty())
    return fail(in.error("url", fmt::format("{} has no url", in.title()),
                         "for example: url = \"file:///srv/backups\", or \"s3://bucket/prefix\""));
  auto place = store::parse_place(out.url);
  if (!place) return fail(in.error("url", place.error().message, place.error().hint));
  for (const store::Setting& setting : store::settings_of(place->scheme)) {
    const std::string name(setting.name);
    TRY_OK(in.read_setting(name.c_str(), out.settings));
    // Every file that is named stands where the configuration stands, as key files do.
    if (setting.value == "FILE")
      out.settings.change(name, [&](const std::string& p) { return resolve(in.file(), p); });
  }
  TRY_OK(in.finish());
  static const std::vector<std::string> kEncryptions = {"passphrase", "key-file", "none"};
  if (std::find(kEncryptions.begin(), kEncryptions.end(), out.encryption) == kEncryptions.end())
    return fail(in.error("encryption", fmt::format("unknown encryption \"{}\"", printable(out.encryption)),
                         suggestion(out.encryption, kEncryptions, "known")));
  std::vector<std::string> secrets;
  for (const auto& [key, value] : {std::pair{"passphrase_file", &out.passphrase_file},
                                   {"passphrase_command", &out.passphrase_command},
                                   {"key_file", &out.key_file},
                                   {"key_command", &out.key_command}}) {
    if (!value->empty()) secrets.emplace_back(key);
  }
  if (secrets.size() > 1)
    return fail(
        in.error(secrets[1],
                 fmt::format("{} gives its key in more than one way: {}", in.title(), quoted_list(secrets)),
                 "keep one of them"));
  if (out.encryption == "none" && !secrets.empty())
    return fail(in.error(secrets[0],
                         fmt::format("{} is not encrypted and has no use for \"{}\"", in.title(), secrets[0]),
                         "remove it, or remove encryption = \"none\""));
  out.url = resolve_url(in.file(), out.url);
  out.passphrase_file = resolve(in.file(), out.passphrase_file);
  out.key_file = resolve(in.file(), out.key_file);
  return {};
}

// How the files of a PostgreSQL cluster are read.
Result<> read_access(Section& in, SourceConfig& out) {
  std::string& access = out.settings["access"];
  std::string& rate = out.settings["read_rate"];
  TRY_OK(in.read("access", access));
  TRY_OK(in.read("read_rate", rate));
  static const std::vector<std::string> kAccesses = {"local", "replication"};
  if (!access.empty() && std::find(kAccesses.begin(), kAccesses.end(), access) == kAccesses.end())
    return fail(in.error("access", fmt::format("unknown access \"{}\"", printable(access)),
                         suggestion(access, kAccesses, "known")));
  if (rate.empty()) return {};
  const auto bytes = parse_size(rate);
  if (!bytes || *bytes < 32 << 10 || *bytes > 1 << 30)
    return fail(in.error("read_rate", fmt::format("cannot read the rate \"{}\"", printable(rate)),
                         "bytes a second, from \"32KiB\" to \"1GiB\""));
  if (access != "replication")
    return fail(in.error("read_rate", "read_rate is for access = \"replication\" only",
                         "remove it, or see limit_rate of the repository"));
  return {};
}

Result<> read_source(Section& in, SourceConfig& out) {
  std::string path;
  TRY_OK(in.read("engine", out.engine));
  static const std::vector<std::string> kEngines = {"sqlite", "postgres"};
  if (out.engine.empty())
    return fail(
        in.error("engine", fmt::format("{} has no engine", in.title()), "for example: engine = \"sqlite\""));
  if (std::find(kEngines.begin(), kEngines.end(), out.engine) == kEngines.end())
    return fail(in.error("engine", fmt::format("unknown engine \"{}\"", printable(out.engine)),
                         suggestion(out.engine, kEngines, "engines of this version")));
  const bool file = out.engine == "sqlite";
  if (file) {
    TRY_OK(in.read("path", path));
  } else {
    TRY_OK(in.read("connection", out.settings["connection"]));
    TRY_OK(in.read("data_directory", out.settings["data_directory"]));
    TRY_OK(read_access(in, out));
  }
  TRY_OK(in.read("repositories", out.repositories));
  TRY_OK(in.read("plan", out.plan));
  TRY_OK(in.finish());
  if (!file) {
    const std::string& connection = out.settings["connection"];
    out.address = connection.starts_with("postgresql:") || connection.starts_with("postgres:")
                      ? connection
                      : "postgres:" + connection;
    return {};
  }
  if (path.empty())
    return fail(in.error("path", fmt::format("{} has no path", in.title()),
                         "for example: path = \"/srv/app.db\", or a glob: path = \"/srv/*.db\""));
  out.address = "sqlite:" + resolve(in.file(), path);
  return {};
}

Result<> read_schedule(Section in, std::map<std::string, std::string>& out) {
  for (const char* kind : {"full", "differential", "incremental", "log"}) {
    std::string text;
    TRY_OK(in.read(kind, text));
    if (text.empty()) continue;
    if (!good_schedule(text, std::string_view(kind) == "log"))
      return fail(
          in.error(kind, fmt::format("cannot read the schedule \"{}\"", printable(text)),
                   "write \"Sun 02:00\", \"daily 02:00\" or \"hourly\"; for the log also \"continuous\""));
    out[kind] = text;
  }
  return in.finish();
}

Result<> read_retention(Section in, Retention& out) {
  TRY_OK(in.read("last", out.last));
  TRY_OK(in.read("daily", out.daily));
  TRY_OK(in.read("weekly", out.weekly));
  TRY_OK(in.read("monthly", out.monthly));
  TRY_OK(in.read("yearly", out.yearly));
  TRY_OK(in.read("window", out.window));
  return in.finish();
}

Result<> read_plan(Section& in, PlanConfig& out) {
  TRY_ASSIGN(const toml::table* objectives, in.table("objectives"));
  TRY_ASSIGN(const toml::table* schedule, in.table("schedule"));
  TRY_ASSIGN(const toml::table* retention, in.table("retention"));
  TRY_OK(in.read("copies", out.copies));
  RateLimit rate;
  TRY_OK(in.read("limit_rate", rate));
  if (!rate.none()) out.limit_rate = std::move(rate);
  TRY_OK(in.finish());
  if (objectives) {
    Section section(in.file(), "objectives of " + in.title(), *objectives);
    TRY_OK(section.read("rpo", out.objectives.rpo));
    TRY_OK(section.read("rto", out.objectives.rto));
    TRY_OK(section.read("window", out.objectives.window));
    TRY_OK(section.finish());
  }
  if (schedule)
    TRY_OK(read_schedule(Section(in.file(), "schedule of " + in.title(), *schedule), out.schedule));
  if (retention)
    TRY_OK(read_retention(Section(in.file(), "retention of " + in.title(), *retention), out.retention));
  if (!out.retention.window) out.retention.window = out.objectives.window;
  return {};
}

template <typename T>
Result<> read_all(const std::string& file, const toml::table& root, const char* kind,
                  std::map<std::string, T>& out, Result<> (*read)(Section&, T&)) {
  const toml::node* node = root.get(kind);
  if (!node) return {};
  if (!node->as_table())
    return fail(Section::at(file, node->source(),
                            fmt::format("\"{}\" must be sections such as [{}.main]", kind, kind)));
  for (const auto& [key, child] : *node->as_table()) {
    const std::string name(key.str());
    if (!child.is_table())
      return fail(Section::at(file, key.source(),
                              fmt::format("\"{}\" stands in [{}], which has no name", printable(name), kind),
                              fmt::format("write [{}.NAME] above it", kind)));
    if (!good_name(name))
      return fail(Section::at(file, key.source(),
                              fmt::format("\"{}\" cannot be the name of a {}", printable(name), kind),
                              "use letters, digits and . _ = @ + -, beginning with a letter or digit"));
    Section section(file, fmt::format("[{}.{}]", kind, name), *child.as_table());
    T item;
    item.name = name;
    TRY_OK(read(section, item));
    out.emplace(name, std::move(item));
  }
  return {};
}

template <typename T>
std::vector<std::string> names_of(const std::map<std::string, T>& map) {
  std::vector<std::string> out;
  for (const auto& [name, value] : map) out.push_back(name);
  return out;
}

Result<> check_copies(const toml::table& root, const Configuration& config) {
  for (const auto& [name, plan] : config.plans) {
    for (const auto& copy : plan.copies) {
      if (config.repositories.contains(copy)) continue;
      return fail(Section::at(
          config.path, root["plan"][name]["copies"].node()->source(),
          fmt::format("plan \"{}\" names the repository \"{}\", which is not here", name, printable(copy)),
          suggestion(copy, names_of(config.repositories), "repositories")));
    }
  }
  for (const auto& [name, source] : config.sources) {
    if (source.plan.empty() || source.repositories.empty()) continue;
    const auto& copies = config.plans.at(source.plan).copies;
    const std::string& main = source.repositories.front();
    if (std::find(copies.begin(), copies.end(), main) == copies.end()) continue;
    return fail(Section::at(config.path, root["source"][name]["plan"].node()->source(),
                            fmt::format("source \"{}\" is backed up to \"{}\", and its plan \"{}\" copies it "
                                        "there",
                                        name, main, source.plan),
                            "a copy is for another place"));
  }
  return {};
}

Result<> check_references(const toml::table& root, const Configuration& config) {
  for (const auto& [name, source] : config.sources) {
    const auto where = [&, &source_name = name](const char* key) {  // clang 14 captures no structured binding
      return root["source"][source_name][key].node()->source();
    };
    for (const auto& repository : source.repositories) {
      if (config.repositories.contains(repository)) continue;
      return fail(Section::at(config.path, where("repositories"),
                              fmt::format("source \"{}\" names the repository \"{}\", which is not here",
                                          name, printable(repository)),
                              suggestion(repository, names_of(config.repositories), "repositories")));
    }
    if (source.plan.empty() || config.plans.contains(source.plan)) continue;
    return fail(Section::at(
        config.path, where("plan"),
        fmt::format("source \"{}\" names the plan \"{}\", which is not here", name, printable(source.plan)),
        suggestion(source.plan, names_of(config.plans), "plans")));
  }
  return check_copies(root, config);
}

Result<Configuration> read_configuration(const toml::table& root, const std::string& path) {
  Configuration out;
  out.path = path;
  static const std::vector<std::string> kSections = {"repository", "source", "plan"};
  for (const auto& [key, node] : root) {
    if (std::find(kSections.begin(), kSections.end(), key.str()) != kSections.end()) continue;
    return fail(Section::at(path, key.source(), fmt::format("unknown section \"{}\"", printable(key.str())),
                            suggestion(key.str(), kSections, "sections")));
  }
  TRY_OK(read_all(path, root, "repository", out.repositories, read_repository));
  TRY_OK(read_all(path, root, "source", out.sources, read_source));
  TRY_OK(read_all(path, root, "plan", out.plans, read_plan));
  TRY_OK(check_references(root, out));
  return out;
}

}  // namespace

Result<Configuration> parse_configuration(const std::string& text, const std::string& path) {
  try {
    return read_configuration(toml::parse(std::string_view(text), std::string_view(path)), path);
  } catch (const toml::parse_error& e) {
    return fail(Code::kUsage,
                fmt::format("{}:{}: {}", path, e.source().begin.line, printable(e.description())),
                "the file is TOML: https://toml.io");
  } catch (const std::exception& e) {
    return fail(Code::kUsage, fmt::format("{}: {}", path, printable(e.what())),
                "the file is TOML: https://toml.io");
  }
}

}  // namespace varve::plan
