#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/kit.h"
#include "cli/session.h"
#include "os/file.h"

namespace varve::cli {
namespace {

struct Options {
  std::string encryption, kit;
  bool generate = false;
};

// What is to be: as said, else what the kind of key given implies, else what the configuration says.
std::string encryption_of(const Options& options, const Session& session, const RepositoryPlace& place) {
  if (!options.encryption.empty()) return options.encryption;
  const Globals& g = session.globals();
  if (!g.key_file.empty() || !g.key_command.empty()) return "key-file";
  if (!place.config) return "passphrase";
  return secret_place(*place.config).is_key() ? "key-file" : place.config->encryption;
}

Result<repo::KeySource> new_key(Session& session, const Options& options, const RepositoryPlace& place,
                                const std::string& encryption) {
  std::string key_file = session.globals().key_file;
  if (key_file.empty() && place.config) key_file = place.config->key_file;
  if (encryption == "key-file" && !key_file.empty())
    TRY_OK(prepare_key_file(session, key_file, options.generate));
  TRY_ASSIGN(auto given, session.given_secret(place));
  if (encryption == "none") {
    if (given)
      return fail(Code::kUsage, "a key is given, and the repository is not to be encrypted",
                  "leave out --encryption none, or the key (also $VARVE_PASSPHRASE)");
    return repo::KeySource{};
  }
  if (given) {
    const bool is_key = !given->key_file.empty();
    if (is_key != (encryption == "key-file"))
      return fail(Code::kUsage,
                  fmt::format("--encryption {} does not fit the {} given", encryption,
                              is_key ? "key file" : "passphrase"),
                  "give the other kind, or leave out --encryption");
    return std::move(*given);
  }
  if (encryption == "key-file")
    return fail(Code::kUsage, "no key file is named", session.typed("--key-file FILE --generate"));
  repo::KeySource key;
  TRY_ASSIGN(key.passphrase, ask_passphrase(session.ctx(), "passphrase of the new repository", true));
  return key;
}

Result<int> run(Session& session, const Options& options) {
  TRY_ASSIGN(const RepositoryPlace place, session.place(""));
  const std::string encryption = encryption_of(options, session, place);
  TRY_ASSIGN(store::StorePtr store, session.open_store(place, true, false));
  // Before a passphrase is asked for, or a key file made: a repository that exists already is not worth
  // either.
  TRY_ASSIGN(const bool taken, store::exists(*store, session.ctx(), std::string(repo::kConfigKey)));
  if (taken)
    return fail(Code::kExists, fmt::format("there is a repository at {} already", store->describe()),
                "use it as it is, or choose another place");
  TRY_ASSIGN(const repo::KeySource key, new_key(session, options, place, encryption));
  repo::Repository::CreateOptions create;
  create.encryption = encryption == "none" ? repo::Encryption::kNone : repo::Encryption::kAes256Gcm;
  create.retain = Session::retain(place);
  TRY_ASSIGN(repo::RepositoryPtr repo, repo::Repository::create(session.ctx(), store, key, create));
  session.record(*repo, "init", "", "", "done", "encryption=" + encryption);

  const InitReport report{store->describe(), repo->id().hex(), encryption, options.kit,
                          repo->config().create_only_honoured};
  session.out().line(fmt::format("created a repository at {} ({})", report.repository,
                                 encryption == "none" ? "not encrypted" : "encrypted by a " + encryption));
  TRY_OK(write_kit(session, *repo, options.kit));
  session.out().object(json_init(report));
  return 0;
}

}  // namespace

void declare_init(Command root) {
  auto o = std::make_shared<Options>();
  root.command("init", "create a repository, its key and recovery kit",
               "The repository is encrypted unless --encryption none is said. The passphrase is asked for "
               "twice on a "
               "terminal, where none is given. The recovery kit is a page to print: with it and the "
               "passphrase or key "
               "the repository can be opened even if its key objects are lost.")
      .option("--encryption", o->encryption, "passphrase|key-file|none", "How it is protected (passphrase)")
      .flag("--generate", o->generate, "Make a new key file where --key-file says")
      .option("--kit", o->kit, "FILE", "Write the recovery kit to a new file that only you can read")
      .example("varve init --repo ./backups --passphrase-file passphrase.txt", "a repository in a folder")
      .example("varve init --repo ./other --key-file other.key --generate --kit other-kit.txt",
               "protected by a new key file, with the recovery kit in a file")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
