// One run of the program: what the command line, the environment and the configuration together mean.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backup/source.h"
#include "base/context.h"
#include "cli/globals.h"
#include "cli/output.h"
#include "cli/progress_display.h"
#include "cli/secrets.h"
#include "plan/config.h"
#include "repo/events.h"
#include "repo/repository.h"
#include "store/store.h"
#include "store/wrap/fallback.h"

namespace varve::cli {

// Where a repository is, and what the configuration says about it (null: it was given by address).
struct RepositoryPlace {
  std::string url;
  const plan::RepositoryConfig* config = nullptr;
  const plan::RateLimit* limit_rate = nullptr;  // of the source's plan
};

class Session {
 public:
  // `arguments` as typed, for hints that repeat them.
  Session(Globals globals, Context ctx, const Output& out, crypto::SecretText environment_passphrase,
          std::vector<std::string> arguments);

  const Context& ctx() const { return ctx_; }
  const Output& out() const { return out_; }
  const Globals& globals() const { return globals_; }
  ProgressDisplay::Mode progress_mode() const;
  // The command line as typed, quoted for a shell, and more words.
  std::string typed(const std::string& more = {}) const;

  // --config, $VARVE_CONFIG, ./varve.toml, /etc/varve/varve.toml; an empty one when there is none. Read once.
  Result<const plan::Configuration*> configuration();

  // `source` (as typed, may be empty) helps to choose: the configuration names a source's repositories.
  Result<RepositoryPlace> place(const std::string& source);
  // A repository as it is typed: a name from the configuration, an address, a folder.
  Result<RepositoryPlace> named_place(const std::string& text);
  Result<store::StorePtr> open_store(const RepositoryPlace& place, bool create, bool read_only) const;
  // How long what is written there is to be kept by the store itself.
  static std::optional<Seconds> retain(const RepositoryPlace& place);
  enum class Access { kRead, kWrite };
  Result<repo::RepositoryPtr> open(const std::string& source, Access access);
  // The same for what only reads: objects that the repository lost, or that are damaged there, come from
  // other repositories that hold a copy. Those are named by --fallback, or, where the configuration chose the
  // repository, are the source's others and the copies of its plan.
  struct Fallback {
    std::vector<std::string> repositories;
    bool unite = false;  // show also what only they have
  };
  Result<repo::RepositoryPtr> open(const std::string& source, Access access, const Fallback& fallback);
  // What came from where, for people; empty: everything from where it was asked for.
  std::vector<std::string> fallback_notes() const;
  // By flag, environment or configuration; nullopt when none of them gives one.
  Result<std::optional<repo::KeySource>> given_secret(const RepositoryPlace& place);

  // SOURCE as it stands in the repository. Empty text: the only one there is.
  Result<std::string> stored_source(const repo::Repository& repo, const std::string& text);
  // All of them for an empty text; else the one it names.
  Result<std::vector<std::string>> stored_sources(const repo::Repository& repo, const std::string& text);
  // Without a key: the name under which the store has it, or `text` where it has none such.
  Result<std::string> name_in_store(store::Store& store, const std::string& text);
  // SOURCE as a database that can be read now.
  // `repo` may be null: then only the configuration, addresses and files are looked at.
  Result<backup::Source> live_source(const repo::Repository* repo, const std::string& text);
  // BACKUP: "latest", an id, or the beginning of just one.
  Result<std::string> stored_backup(const repo::Repository& repo, const std::string& source,
                                    const std::string& text) const;

  // The words by which another program, such as a database's server, brings files of the log from the same
  // repository: `varve log fetch … SOURCE`.
  Result<std::vector<std::string>> fetch_command(const std::string& source);
  // Whether it finds the key by itself: in a file, by a command or by the configuration, not in our
  // environment.
  Result<bool> others_can_open(const repo::Repository& repo, const std::string& source);

  // The audit trail. A failure is recorded with its message.
  void record(const repo::Repository& repo, const std::string& what, const std::string& source,
              const std::string& backup, const std::string& outcome, const std::string& detail) const;

 private:
  Result<std::vector<RepositoryPlace>> fallback_places(const std::string& source,
                                                       const RepositoryPlace& first,
                                                       const Fallback& fallback);
  Result<store::StorePtr> store_with_fallback(const RepositoryPlace& first,
                                              const std::vector<RepositoryPlace>& others, bool read_only,
                                              bool unite);
  Result<repo::RepositoryPtr> open_in(const RepositoryPlace& where, store::StorePtr store,
                                      std::optional<repo::KeySource> key, std::optional<Seconds> retain);
  static Result<RepositoryPlace> named_place(const plan::Configuration& config, const std::string& text);
  Result<RepositoryPlace> chosen_place(const plan::Configuration& config, const std::string& source) const;
  Result<backup::Source> from_configuration(const plan::SourceConfig& source) const;
  // An address or a path; one that the configuration knows keeps its name there.
  Result<backup::Source> from_address(const std::string& address);

  const Globals globals_;
  const Context ctx_;
  const Output& out_;
  crypto::SecretText environment_passphrase_;
  const std::vector<std::string> arguments_;
  std::optional<plan::Configuration> configuration_;
  std::shared_ptr<store::FallbackStore> fallback_;
  std::vector<std::string> fallback_notes_;
};

// "varve backup 'my app.db'": words quoted where a shell needs it.
std::string shell_words(const std::vector<std::string>& words);

}  // namespace varve::cli
