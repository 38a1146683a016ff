#include "cli/session.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

#include "base/text.h"
#include "os/file.h"
#include "repo/config.h"
#include "repo/manifest.h"
#include "store/open.h"

namespace varve::cli {
namespace {

constexpr size_t kMaxConfiguration = 1 << 20;

std::string list_of(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& w : words) out += (out.empty() ? "" : ", ") + printable(w);
  return out;
}

bool looks_like_address(const std::string& text) {
  return text.find("://") != std::string::npos || text.find('/') != std::string::npos ||
         text.starts_with('.');
}

Result<bool> is_file(const std::string& path) {
  TRY_ASSIGN(const auto status, os::status(path));
  return status.has_value() && !status->is_directory;
}

Result<bool> is_folder(const std::string& path) {
  TRY_ASSIGN(const auto status, os::status(path));
  return status.has_value() && status->is_directory;
}

// What is said when SOURCE names nothing: the nearest, or all there are.
std::string which_sources(const std::string& text, const std::vector<std::string>& known) {
  if (known.empty()) return "there is no backup in this repository yet: varve backup sqlite:app.db";
  const auto near = text.empty() ? std::vector<std::string>{} : nearest(text, known, 1);
  if (!near.empty()) return fmt::format("did you mean {}?", printable(near[0]));
  return fmt::format("there are: {}", list_of(known));
}

// The one that every source is backed up to; the others hold copies.
const plan::RepositoryConfig* common_repository(const plan::Configuration& config) {
  const std::string* name = nullptr;
  for (const auto& [source, known] : config.sources) {
    if (known.repositories.empty()) return nullptr;
    if (name != nullptr && *name != known.repositories.front()) return nullptr;
    name = &known.repositories.front();
  }
  return name == nullptr ? nullptr : &config.repositories.at(*name);
}

}  // namespace

std::string shell_words(const std::vector<std::string>& words) {
  static constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  std::string out;
  for (const auto& w : words) {
    if (!out.empty()) out += ' ';
    if (!w.empty() && w.find_first_not_of(kPlain) == std::string::npos) {
      out += w;
      continue;
    }
    out += '\'';
    for (char c : w) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

Session::Session(Globals globals, Context ctx, const Output& out, crypto::SecretText environment_passphrase,
                 std::vector<std::string> arguments)
    : globals_(std::move(globals)),
      ctx_(std::move(ctx)),
      out_(out),
      environment_passphrase_(std::move(environment_passphrase)),
      arguments_(std::move(arguments)) {}

ProgressDisplay::Mode Session::progress_mode() const {
  if (globals_.json || globals_.quiet || globals_.no_progress) return ProgressDisplay::Mode::kNone;
  return out_.err_is_terminal() ? ProgressDisplay::Mode::kRedraw : ProgressDisplay::Mode::kLines;
}

std::string Session::typed(const std::string& more) const {
  std::vector<std::string> words = {"varve"};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  const std::string line = shell_words(words);
  return more.empty() ? line : line + " " + more;
}

Result<const plan::Configuration*> Session::configuration() {
  if (configuration_) return &*configuration_;
  std::string path = globals_.config;
  if (path.empty()) {
    for (const char* place : {"varve.toml", "/etc/varve/varve.toml"}) {
      TRY_ASSIGN(const bool there, is_file(place));
      if (!there) continue;
      path = place;
      break;
    }
  }
  if (path.empty()) {
    configuration_.emplace();
    return &*configuration_;
  }
  auto content = os::read_file(path, kMaxConfiguration);
  if (!content) {
    Error error = std::move(content).error();
    error.code = Code::kUsage;
    return fail(std::move(error).with_context("while reading the configuration"));
  }
  TRY_ASSIGN(configuration_, plan::parse_configuration(std::string(as_text(*content)), path));
  return &*configuration_;
}

Result<RepositoryPlace> Session::named_place(const plan::Configuration& config, const std::string& text) {
  if (const auto it = config.repositories.find(text); it != config.repositories.end())
    return RepositoryPlace{it->second.url, &it->second};
  if (looks_like_address(text)) return RepositoryPlace{text, nullptr};
  TRY_ASSIGN(const bool folder, is_folder(text));
  if (folder) return RepositoryPlace{text, nullptr};
  std::vector<std::string> names;
  for (const auto& [name, repository] : config.repositories) names.push_back(name);
  std::string hint =
      fmt::format("a folder is written ./{} or file:///…/{}", printable(text), printable(text));
  if (const auto near = nearest(text, names, 1); !near.empty())
    hint = fmt::format("did you mean {}?", near[0]);
  else if (!names.empty())
    hint += fmt::format("; the configuration has: {}", list_of(names));
  return fail(Code::kUsage, fmt::format("there is no repository called \"{}\"", printable(text)), hint);
}

Result<RepositoryPlace> Session::named_place(const std::string& text) {
  TRY_ASSIGN(const plan::Configuration* config, configuration());
  return named_place(*config, text);
}

Result<RepositoryPlace> Session::place(const std::string& source) {
  TRY_ASSIGN(const plan::Configuration* config, configuration());
  TRY_ASSIGN(RepositoryPlace out, chosen_place(*config, source));
  if (const auto it = config->sources.find(source); it != config->sources.end() && !it->second.plan.empty()) {
    const auto& rate = config->plans.at(it->second.plan).limit_rate;
    if (rate) out.limit_rate = &*rate;
  }
  return out;
}

Result<RepositoryPlace> Session::chosen_place(const plan::Configuration& configuration,
                                              const std::string& source) const {
  const plan::Configuration* config = &configuration;
  if (!globals_.repo.empty()) return named_place(*config, globals_.repo);
  if (const auto it = config->sources.find(source);
      it != config->sources.end() && !it->second.repositories.empty()) {
    const auto& repository = config->repositories.at(it->second.repositories.front());
    return RepositoryPlace{repository.url, &repository};
  }
  if (config->repositories.size() == 1) {
    const auto& repository = config->repositories.begin()->second;
    return RepositoryPlace{repository.url, &repository};
  }
  if (config->repositories.empty())
    return fail(Code::kUsage, "no repository is named",
                fmt::format("{}\nor once: export VARVE_REPO=file:///srv/backups",
                            typed("--repo file:///srv/backups")));
  if (const auto* repository = common_repository(*config))
    return RepositoryPlace{repository->url, repository};
  std::vector<std::string> names;
  for (const auto& [name, repository] : config->repositories) names.push_back(name);
  return fail(Code::kUsage,
              fmt::format("which repository? {} has: {}", printable(config->path), list_of(names)),
              typed("--repo " + names[0]));
}

Result<store::StorePtr> Session::open_store(const RepositoryPlace& place, bool create, bool read_only) const {
  store::OpenOptions options;
  options.create = create;
  options.read_only = read_only;
  if (place.config) options.settings = place.config->settings;
  plan::RateLimit limit;
  if (!globals_.limit_rate.empty()) {
    auto rate = parse_size(globals_.limit_rate);
    if (!rate) return fail(std::move(rate).error().with_context("--limit-rate"));
    limit.otherwise = *rate;
  } else if (place.limit_rate) {
    limit = *place.limit_rate;
  } else if (place.config) {
    limit = place.config->limit_rate;
  }
  if (!limit.none()) options.limit_rate = [limit] { return limit.at(now()); };
  return store::open_store(ctx_, place.url, options);
}

std::optional<Seconds> Session::retain(const RepositoryPlace& place) {
  return place.config ? place.config->retain : std::nullopt;
}

Result<std::optional<repo::KeySource>> Session::given_secret(const RepositoryPlace& place) {
  TRY_ASSIGN(const SecretPlace by_flag, secret_place(globals_.passphrase_file, globals_.passphrase_command,
                                                     globals_.key_file, globals_.key_command));
  repo::KeySource key;
  if (!by_flag.empty()) {
    TRY_ASSIGN(key, read_secret(ctx_, by_flag));
    return key;
  }
  if (!environment_passphrase_.empty()) {
    key.passphrase = environment_passphrase_;
    return key;
  }
  if (place.config) {
    const SecretPlace configured = secret_place(*place.config);
    if (!configured.empty()) {
      TRY_ASSIGN(key, read_secret(ctx_, configured));
      return key;
    }
  }
  return std::nullopt;
}

Result<repo::RepositoryPtr> Session::open(const std::string& source, Access access) {
  TRY_ASSIGN(const RepositoryPlace where, place(source));
  TRY_ASSIGN(std::optional<repo::KeySource> key, given_secret(where));
  TRY_ASSIGN(store::StorePtr store, open_store(where, false, access == Access::kRead));
  return open_in(where, std::move(store), std::move(key), retain(where));
}

Result<repo::RepositoryPtr> Session::open_in(const RepositoryPlace& where, store::StorePtr store,
                                             std::optional<repo::KeySource> key,
                                             std::optional<Seconds> retain) {
  if (!key) {
    key.emplace();
    // varve.json tells whether a key is needed at all; whatever is wrong with it, open() says better.
    const auto text = store::get_bytes(*store, ctx_, std::string(repo::kConfigKey), 1 << 20);
    const auto config = text ? repo::decode_config(as_text(*text)) : Result<repo::Config>(repo::Config{});
    if (text && config && config->encryption != repo::Encryption::kNone) {
      TRY_ASSIGN(key->passphrase,
                 ask_passphrase(ctx_, "passphrase of " + printable(store->describe()), false));
    }
  }
  auto opened = repo::Repository::open(ctx_, store, *key, {retain});
  if (!opened && opened.error().code == Code::kUsage && opened.error().hint.empty())
    return fail(
        std::move(opened).error().with_hint("check $VARVE_PASSPHRASE, the file or the command it came from; "
                                            "the recovery kit tells which keys there are"));
  if (!opened) return fail(std::move(opened).error());
  repo::RepositoryPtr repo = std::move(*opened);
  if (where.config && where.config->encryption != "none" && !repo->encrypted())
    return fail(
        Code::kUsage, fmt::format("{} is not encrypted, and the configuration says it is", store->describe()),
        "if that is right, write encryption = \"none\"; if not, somebody put another repository there");
  return repo;
}

Result<backup::Source> Session::from_configuration(const plan::SourceConfig& source) const {
  auto out = backup::source_from_address(source.address);
  if (!out)
    return fail(std::move(out).error().with_context("source " + source.name + " of the configuration"));
  out->name = source.name;
  if (const auto at = source.settings.find("data_directory"); at != source.settings.end())
    out->data_directory = at->second;
  if (const auto at = source.settings.find("access"); at != source.settings.end())
    out->replication = at->second == "replication";
  if (const auto at = source.settings.find("read_rate"); at != source.settings.end() && !at->second.empty()) {
    TRY_ASSIGN(out->read_rate, parse_size(at->second));
  }
  return out;
}

Result<backup::Source> Session::from_address(const std::string& address) {
  TRY_ASSIGN(backup::Source out,
             backup::source_from_address(backup::is_address(address) ? address : "sqlite:" + address));
  TRY_ASSIGN(const plan::Configuration* config, configuration());
  for (const auto& [name, source] : config->sources) {
    const auto known = backup::source_from_address(source.address);
    if (!known || known->address != out.address) continue;
    TRY_ASSIGN(out, from_configuration(source));
  }
  return out;
}

Result<std::string> Session::stored_source(const repo::Repository& repo, const std::string& text) {
  TRY_ASSIGN(const std::vector<std::string> names, repo::list_sources(repo, ctx_));
  const auto there = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  TRY_ASSIGN(const plan::Configuration* config, configuration());
  if (text.empty()) {
    if (names.size() == 1) return names.front();
    if (config->sources.size() == 1 && there(config->sources.begin()->first))
      return config->sources.begin()->first;
    if (names.empty())
      return fail(Code::kNotFound, "there is no backup in this repository yet", which_sources("", names));
    return fail(Code::kUsage, "which source? This repository has several", "one of: " + list_of(names));
  }
  if (there(text)) return text;
  if (config->sources.contains(text))
    return fail(Code::kNotFound,
                fmt::format("there is no backup of {} in {}", printable(text), repo.store().describe()),
                fmt::format("varve backup {}", shell_words({text})));
  // The name follows from the address alone: the database itself may be gone.
  if (const auto source = from_address(text); source && there(source->name)) return source->name;
  return fail(Code::kNotFound,
              fmt::format("there is no source \"{}\" in {}", printable(text), repo.store().describe()),
              which_sources(text, names));
}

Result<std::vector<std::string>> Session::stored_sources(const repo::Repository& repo,
                                                         const std::string& text) {
  if (text.empty()) return repo::list_sources(repo, ctx_);
  TRY_ASSIGN(const std::string name, stored_source(repo, text));
  return std::vector<std::string>{name};
}

Result<std::string> Session::name_in_store(store::Store& store, const std::string& text) {
  const auto there = [&](const std::string& name) -> Result<bool> {
    if (!repo::check_name(name)) return false;
    TRY_ASSIGN(const store::ListPage page, store.list(ctx_, fmt::format("sources/{}/", name), "", 1));
    return !page.objects.empty();
  };
  TRY_ASSIGN(const bool named, there(text));
  if (named) return text;
  if (const auto source = from_address(text)) {
    TRY_ASSIGN(const bool known, there(source->name));
    if (known) return source->name;
  }
  return text;
}

Result<backup::Source> Session::live_source(const repo::Repository* repo, const std::string& text) {
  TRY_ASSIGN(const plan::Configuration* config, configuration());
  if (text.empty() && config->sources.size() == 1) return from_configuration(config->sources.begin()->second);
  if (const auto it = config->sources.find(text); it != config->sources.end())
    return from_configuration(it->second);
  if (backup::is_address(text)) return from_address(text);
  std::vector<std::string> names;
  if (repo) {
    TRY_ASSIGN(names, repo::list_sources(*repo, ctx_));
  }
  const bool named = std::find(names.begin(), names.end(), text) != names.end();
  if (named || (text.empty() && names.size() == 1)) {
    const std::string name = named ? text : names.front();
    TRY_ASSIGN(const auto newest, repo::newest_manifest(*repo, ctx_, name));
    if (!newest.manifest || newest.manifest->address.empty())
      return fail(Code::kNotFound, fmt::format("no readable backup tells where {} is", printable(name)),
                  "give its address, such as sqlite:/srv/app.db");
    TRY_ASSIGN(backup::Source out, backup::source_from_address(newest.manifest->address));
    out.name = name;
    return out;
  }
  std::vector<std::string> known = names;
  for (const auto& [name, source] : config->sources) known.push_back(name);
  if (text.empty())
    return fail(Code::kUsage, "which database?",
                known.empty() ? typed("sqlite:app.db") : "one of: " + list_of(known));
  TRY_ASSIGN(const bool file, is_file(text));
  if (file || text.find_first_of("*?[") != std::string::npos) return from_address(text);
  return fail(Code::kNotFound, fmt::format("\"{}\" is neither a file nor a known source", printable(text)),
              known.empty() ? "give the path of a SQLite database, such as sqlite:/srv/app.db"
                            : which_sources(text, known));
}

Result<std::vector<std::string>> Session::fetch_command(const std::string& source) {
  const auto absolute = [](const std::string& path) { return std::filesystem::absolute(path).string(); };
  std::error_code ignored;
  std::vector<std::string> words = {std::filesystem::read_symlink("/proc/self/exe", ignored).string(), "log",
                                    "fetch"};
  TRY_ASSIGN(const RepositoryPlace where, place(source));
  TRY_ASSIGN(const plan::Configuration* config, configuration());
  const auto add = [&](const char* option, const std::string& value) {
    words.insert(words.end(), {option, value});
  };
  if (!config->path.empty()) add("--config", absolute(config->path));
  add("--repo", where.config                                 ? where.config->name
                : where.url.find("://") == std::string::npos ? absolute(where.url)
                                                             : where.url);
  if (!globals_.passphrase_file.empty()) add("--passphrase-file", absolute(globals_.passphrase_file));
  if (!globals_.passphrase_command.empty()) add("--passphrase-command", globals_.passphrase_command);
  if (!globals_.key_file.empty()) add("--key-file", absolute(globals_.key_file));
  if (!globals_.key_command.empty()) add("--key-command", globals_.key_command);
  words.push_back(source);
  return words;
}

Result<bool> Session::others_can_open(const repo::Repository& repo, const std::string& source) {
  if (!repo.encrypted() || !globals_.passphrase_file.empty() || !globals_.passphrase_command.empty() ||
      !globals_.key_file.empty() || !globals_.key_command.empty())
    return true;
  TRY_ASSIGN(const RepositoryPlace where, place(source));
  return environment_passphrase_.empty() && where.config && !secret_place(*where.config).empty();
}

Result<std::string> Session::stored_backup(const repo::Repository& repo, const std::string& source,
                                           const std::string& text) const {
  TRY_ASSIGN(const std::vector<std::string> ids, repo::list_backup_ids(repo, ctx_, source));
  if (ids.empty()) return fail(Code::kNotFound, fmt::format("there is no backup of {}", printable(source)));
  if (text == "latest") {
    // By the state it holds: ids tell seconds only.
    TRY_ASSIGN(const auto list, repo::load_manifests(repo, ctx_, source));
    const auto& all = list.manifests;
    if (all.empty()) return ids.back();
    return std::max_element(all.begin(), all.end(),
                            [](const auto& a, const auto& b) { return a.moment < b.moment; })
        ->id;
  }
  std::vector<std::string> fitting;
  for (const auto& id : ids) {
    if (id == text) return id;
    if (!text.empty() && id.starts_with(text)) fitting.push_back(id);
  }
  if (fitting.size() == 1) return fitting.front();
  if (fitting.size() > 1)
    return fail(Code::kUsage, fmt::format("\"{}\" fits {} backups", printable(text), fitting.size()),
                list_of(fitting));
  const auto near = nearest(text, ids, 1);
  return fail(Code::kNotFound, fmt::format("{} has no backup \"{}\"", printable(source), printable(text)),
              near.empty() ? fmt::format("see varve list {}", shell_words({source}))
                           : fmt::format("did you mean {}?", near[0]));
}

void Session::record(const repo::Repository& repo, const std::string& what, const std::string& source,
                     const std::string& backup, const std::string& outcome, const std::string& detail) const {
  repo::AuditEvent event;
  event.what = what;
  event.source = source;
  event.backup = backup;
  event.outcome = outcome;
  event.detail = detail;
  // Told even when the work was interrupted.
  Context ctx = ctx_;
  ctx.stop = {};
  repo::record_event(repo, ctx.with_deadline(std::chrono::seconds(30)), std::move(event));
}

}  // namespace varve::cli
