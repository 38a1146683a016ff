#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/kit.h"
#include "cli/session.h"
#include "cli/words.h"
#include "os/file.h"

namespace varve::cli {
namespace {

constexpr size_t kMaxKit = 1 << 20;

struct Options {
  std::string new_passphrase_file, new_key_file, label, id, kit;
  bool generate = false, even_current = false;
};

Result<int> run_list(Session& session) {
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open("", Session::Access::kRead));
  TRY_ASSIGN(const auto keys, repo->list_keys(session.ctx()));
  session.out().object(json_keys(keys));
  Table table({{"key", Table::Align::kLeft},
               {"kind", Table::Align::kLeft},
               {"made", Table::Align::kLeft},
               {"label", Table::Align::kLeft}});
  for (const auto& k : keys)
    table.add({k.id, k.kind, to_local(k.created), printable(k.label) + (k.current ? " (used now)" : "")});
  session.out().text(table.empty() ? "the repository is not encrypted\n"
                                   : table.render(session.out().style()));
  return 0;
}

Result<repo::KeySource> added_key(const Session& session, const Options& o) {
  TRY_ASSIGN(const SecretPlace place, secret_place(o.new_passphrase_file, "", o.new_key_file, ""));
  if (!o.new_key_file.empty()) TRY_OK(prepare_key_file(session, o.new_key_file, o.generate));
  if (!place.empty()) return read_secret(session.ctx(), place);
  repo::KeySource key;
  auto asked = ask_passphrase(session.ctx(), "the new passphrase", true);
  if (!asked && asked.error().code == Code::kUsage)
    return fail(std::move(asked).error().with_hint(
        "give the new one by --new-passphrase-file FILE or --new-key-file FILE"));
  if (!asked) return fail(std::move(asked).error());
  key.passphrase = std::move(*asked);
  return key;
}

Result<int> run_add(Session& session, const Options& o) {
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open("", Session::Access::kWrite));
  TRY_ASSIGN(const repo::KeySource key, added_key(session, o));
  TRY_ASSIGN(const auto added, repo->add_key(session.ctx(), key, o.label));
  session.record(*repo, "key-add", "", "", "done", added.id);
  session.out().object(json_key_change("added", added.id));
  session.out().line(
      fmt::format("added the {} {}; make a new recovery kit: varve key kit", added.kind, added.id));
  return 0;
}

Result<int> run_remove(Session& session, const Options& o) {
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open("", Session::Access::kWrite));
  TRY_ASSIGN(const auto keys, repo->list_keys(session.ctx()));
  std::vector<std::string> fitting, all;
  for (const auto& k : keys) {
    all.push_back(k.id);
    if (!o.id.empty() && (k.id.starts_with(o.id) || k.label == o.id)) fitting.push_back(k.id);
  }
  if (fitting.size() != 1) {
    std::string ids;
    for (const auto& id : all) ids += (ids.empty() ? "" : ", ") + id;
    return fail(Code::kNotFound,
                fmt::format("\"{}\" names {} of the keys", printable(o.id),
                            fitting.empty() ? "none" : "more than one"),
                "there are: " + ids);
  }
  TRY_OK(repo->remove_key(session.ctx(), fitting[0], o.even_current));
  session.record(*repo, "key-remove", "", "", "done", fitting[0]);
  session.out().object(json_key_change("removed", fitting[0]));
  session.out().line(fmt::format(
      "removed the key {}; copies of its object that others took before still open what they have",
      fitting[0]));
  return 0;
}

Result<int> run_kit(Session& session, const Options& o) {
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open("", Session::Access::kRead));
  if (session.out().json() && o.kit.empty())
    return fail(Code::kUsage, "with --json the kit goes to a file", session.typed("--kit FILE"));
  TRY_OK(write_kit(session, *repo, o.kit));
  session.out().object(json_kit(repo->store().describe(), o.kit));
  return 0;
}

// Without opening anything: what it puts back is what opening needs.
Result<int> run_restore(Session& session, const Options& o) {
  TRY_ASSIGN(const RepositoryPlace place, session.place(""));
  TRY_ASSIGN(const Buffer kit, os::read_file(o.kit, kMaxKit));
  TRY_ASSIGN(store::StorePtr store, session.open_store(place, false, false));
  TRY_ASSIGN(const auto restored, repo::Repository::restore_from_kit(session.ctx(), *store, as_text(kit)));
  std::string names;
  for (const auto& key : restored) names += (names.empty() ? "" : ", ") + key;
  session.out().object(json_key_change("restored", names));
  session.out().line(restored.empty() ? "nothing was missing or damaged" : "put back: " + names);
  return 0;
}

}  // namespace

void declare_key(Command root) {
  auto o = std::make_shared<Options>();
  Command key = root.command("key", "the keys that open the repository, and its recovery kit");
  key.command("list", "the keys that open the repository")
      .example("varve key list", "every passphrase and key file, by its id")
      .action([](Session& s) { return run_list(s); });
  key.command("add", "one more passphrase or key file")
      .option("--new-passphrase-file", o->new_passphrase_file, "FILE",
              "Read it from a file's first line; else it is asked for")
      .option("--new-key-file", o->new_key_file, "FILE", "A key file instead of a passphrase")
      .flag("--generate", o->generate, "Make that key file anew")
      .option("--label", o->label, "TEXT", "What it is for")
      .example("varve key add --new-key-file spare.key --generate --label 'in the safe'",
               "a key file to lock away")
      .action([o](Session& s) { return run_add(s, *o); });
  key.command("remove", "a passphrase or key file opens the repository no longer")
      .positional("KEY", o->id, "Its id as varve key list shows it, the beginning of that, or its label",
                  true)
      .flag("--even-current", o->even_current, "Even the one that opens it now")
      .example("varve key remove 'in the safe'", "the spare key, by its label")
      .action([o](Session& s) { return run_remove(s, *o); });
  key.command("kit", "the recovery kit: a page to print",
              "It holds what is needed, beside the secret itself, to open the repository even if its key "
              "objects are "
              "lost. Make a new one whenever keys change.")
      .option("--kit", o->kit, "FILE", "Write it to a new file that only you can read")
      .example("varve key kit --kit kit.txt", "to a file, for the printer")
      .action([o](Session& s) { return run_kit(s, *o); });
  key.command("restore", "put back what the repository lost, from the recovery kit",
              "Only what is missing or damaged is written; an intact object of another content stops it.")
      .positional("KIT", o->kit, "The file with the recovery kit", true)
      .example("varve key restore kit.txt", "put back varve.json and the keys")
      .action([o](Session& s) { return run_restore(s, *o); });
}

}  // namespace varve::cli
