#include <algorithm>
#include <fmt/format.h>

#include "backup/copy_lag.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/words.h"
#include "repo/lease.h"
#include "repo/probe.h"

namespace varve::cli {
namespace {

using Severity = engine::Problem::Severity;

// Collects what is found; `worst` is the exit status of the gravest error.
class Findings {
 public:
  void note(const std::string& about, std::string what, std::string mend = {}) {
    add(about, {Severity::kNote, std::move(what), std::move(mend)});
  }
  void warn(const std::string& about, std::string what, std::string mend) {
    add(about, {Severity::kWarning, std::move(what), std::move(mend)});
  }
  void error(const std::string& about, const Error& e) {
    add(about, {Severity::kError, e.describe(), e.hint}, e.code);
  }
  void add(const std::string& about, engine::Problem problem, Code code = Code::kDatabase) {
    // Damage first, then what keeps the work from being done at all.
    if (problem.severity == Severity::kError && (worst_ == 0 || code == Code::kDamaged))
      worst_ = exit_code(code);
    all_.push_back({about, std::move(problem)});
  }
  const std::vector<Finding>& all() const { return all_; }
  int worst() const { return worst_; }

 private:
  std::vector<Finding> all_;
  int worst_ = 0;
};

void check_repository(Session& session, const repo::Repository& repo, Findings& findings) {
  const auto honoured = repo::probe_create_only(session.ctx(), repo.store());
  if (!honoured) {
    findings.error("store", honoured.error());
  } else if (!*honoured) {
    findings.warn(
        "store",
        "objects are replaced although that was refused: two writers at one instant may harm each other",
        "let only one host write to this repository");
  } else {
    findings.note("store", fmt::format("{} answers, and takes new objects", repo.store().describe()));
  }
  if (const auto may = repo.check_may_write(); !may) findings.error("repository", may.error());
  if (!repo.encrypted())
    findings.warn("repository", "it is not encrypted: whoever reads the store reads the data",
                  "make an encrypted one: varve init");
  const auto keys =
      repo.encrypted() ? repo.list_keys(session.ctx()) : std::vector<repo::Repository::KeyInfo>{};
  if (!keys) findings.error("repository", keys.error());
}

// Each thing that the store does not let us do, and what has to be granted for it.
void check_abilities(Session& session, const std::string& source, Findings& findings) {
  const auto place = session.place(source);
  const auto store = place ? session.open_store(*place, false, false) : fail(place.error());
  if (!store) return;  // opening the repository tells why
  std::optional<Timestamp> lock;
  if (const auto retain = Session::retain(*place)) lock = now() + *retain;
  for (const repo::Ability& ability : repo::probe_abilities(session.ctx(), **store, lock)) {
    if (ability.tried || ability.tried.error().code != Code::kDenied) continue;
    const std::string policy = (*store)->policy();
    findings.add("store",
                 {Severity::kError,
                  fmt::format("it does not let us {}: {}", ability.what, ability.tried.error().describe()),
                  policy.empty() ? ability.tried.error().hint : "grant at least:\n" + policy},
                 Code::kDenied);
  }
}

void check_follower(Session& session, const repo::Repository& repo, const std::string& source,
                    Findings& findings) {
  const auto lease = repo::current_lease(repo, session.ctx(), source);
  if (!lease) return findings.error(source, lease.error());
  if (!*lease) return;
  const repo::LeaseInfo& l = **lease;
  const bool dead = os::liveness(l.process) == os::Liveness::kDead;
  if (!dead && l.expires > now()) return;
  // Released leases are gone or expired as of their release; one that ran out by itself belonged to someone
  // who fell.
  if (dead || now() - l.expires > std::chrono::minutes(1))
    findings.note(source,
                  fmt::format("the last follower (process {} on {}) is not at work any more", l.process.pid,
                              printable(l.process.host)),
                  fmt::format("varve log follow {}", shell_words({source})));
}

void check_stored(Session& session, const repo::Repository& repo, const std::string& source,
                  const plan::Configuration& config, Findings& findings) {
  const auto state = backup::load_source(repo, session.ctx(), source);
  if (!state) return findings.error(source, state.error());
  for (const auto& u : state->backups.unreadable)
    findings.error(source,
                   Error{Code::kDamaged, fmt::format("{} cannot be read: {}", u.key, u.error.describe()),
                         "varve verify tells what is still restorable"});
  for (const auto& e : state->epochs) {
    if (e.gap)
      findings.add(source,
                   {Severity::kError,
                    fmt::format("the log from {} has a gap after {}", e.epoch,
                                backup::position_text(e.epoch, e.gap_after)),
                    "take a new backup: varve backup " + shell_words({source})},
                   Code::kIncomplete);
  }
  const SourceStatus status = assess(*state, {});
  if (!status.recoverable_to) {
    findings.warn(source, "there is no backup that can be restored", "varve backup " + shell_words({source}));
    return;
  }
  findings.note(source, fmt::format("recoverable to {} ({})", to_local(*status.recoverable_to),
                                    to_ago(*status.recoverable_to, now())));
  if (!state->epochs.empty() && !status.following) check_follower(session, repo, source, findings);
  const auto known = config.sources.find(source);
  if (known == config.sources.end() || known->second.plan.empty()) return;
  const auto& rpo = config.plans.at(known->second.plan).objectives.rpo;
  if (rpo && now() - *status.recoverable_to > *rpo)
    findings.warn(
        source,
        fmt::format("the plan promises to lose at most {}; what was committed after {} would be lost",
                    to_human(*rpo), to_local(*status.recoverable_to)),
        fmt::format("follow its log: varve log follow {}", shell_words({source})));
}

// What a copy of the plan lacks. It is not opened, so its key is not needed here.
void check_copy(Session& session, const repo::Repository& repo, const std::string& source,
                const std::string& name, Findings& findings) {
  const auto place = session.named_place(name);
  if (!place) return findings.error(source, place.error());
  const auto mend = fmt::format("varve copy {}", shell_words({source}));
  const auto store = session.open_store(*place, false, true);
  if (!store && store.error().code == Code::kNotFound)
    return findings.warn(source, fmt::format("its copy {} lacks everything: it was not made yet", name),
                         mend);
  if (!store) return findings.error(source, store.error());
  const auto lag = backup::copy_lag(session.ctx(), repo.store(), **store, source);
  if (!lag) return findings.error(source, lag.error());
  if (!lag->missing.empty())
    return findings.warn(source,
                         fmt::format("its copy {} lacks {} of {}, from {} on", name, lag->missing.size(),
                                     counted(lag->backups, "backup", "backups"), lag->missing.front()),
                         mend);
  std::string what = fmt::format("its copy {} has every backup", name);
  if (lag->copied < lag->last) {
    const std::string last = backup::position_text(lag->epoch, lag->last);
    what += lag->copied == 0 ? fmt::format(", and nothing of the log from {} to {}", lag->epoch, last)
                             : fmt::format(", and the log up to {} of {}",
                                           backup::position_text(lag->epoch, lag->copied), last);
    return findings.note(source, std::move(what), mend + " --follow");
  }
  findings.note(source, lag->last > 0 ? what + " and the whole log" : what);
}

void check_live(Session& session, const repo::Repository* repo, const std::string& text, Findings& findings) {
  const auto source = session.live_source(repo, text);
  if (!source) return findings.error(text.empty() ? "source" : text, source.error());
  const auto problems = backup::probe(session.ctx(), *source);
  if (!problems) return findings.error(source->name, problems.error());
  for (const auto& p : *problems) findings.add(source->name, p);
  const bool fine = std::none_of(problems->begin(), problems->end(),
                                 [](const engine::Problem& p) { return p.severity == Severity::kError; });
  if (fine) findings.note(source->name, fmt::format("{} can be backed up", printable(source->address)));
}

void check_one_stored(Session& session, const repo::Repository& repo, const std::string& source,
                      const plan::Configuration& config, Findings& findings) {
  check_stored(session, repo, source, config, findings);
  const auto known = config.sources.find(source);
  if (known == config.sources.end() || known->second.plan.empty()) return;
  for (const auto& copy : config.plans.at(known->second.plan).copies)
    check_copy(session, repo, source, copy, findings);
}

// Sources to look at: the one named; else those of the configuration and those in the repository.
std::vector<std::string> sources_to_check(const std::string& text, const plan::Configuration& config,
                                          const std::vector<std::string>& stored) {
  if (!text.empty()) return {text};
  std::vector<std::string> out = stored;
  for (const auto& [name, source] : config.sources)
    if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
  return out;
}

std::string text_of(const Findings& findings, const Style& style) {
  std::string out;
  for (const auto& [about, p] : findings.all()) {
    const std::string mark = p.severity == Severity::kNote      ? style.green("ok     ")
                             : p.severity == Severity::kWarning ? style.yellow("warning")
                                                                : style.red("problem");
    out += fmt::format("{}  {}: {}\n",
                       p.severity == Severity::kNote && !p.mend.empty() ? style.dim("note   ") : mark,
                       printable(about), printable(p.what));
    std::string_view before = "mend: ";
    for (const std::string_view line : split(p.mend, '\n')) {
      if (!line.empty())
        out += fmt::format("         {}{}\n", style.dim(std::string(before)), printable(line));
      before = "";
    }
  }
  return out;
}

Result<int> run(Session& session, const std::string& text) {
  TRY_ASSIGN(const plan::Configuration* config, session.configuration());
  Findings findings;
  check_abilities(session, text, findings);
  auto repo = session.open(text, Session::Access::kWrite);
  std::vector<std::string> stored;
  if (!repo) {
    if (repo.error().code == Code::kInterrupted) return fail(std::move(repo).error());
    findings.error("repository", repo.error());
  } else {
    check_repository(session, **repo, findings);
    auto names = repo::list_sources(**repo, session.ctx());
    if (names)
      stored = std::move(*names);
    else
      findings.error("repository", names.error());
  }
  const repo::Repository* opened = repo ? repo->get() : nullptr;
  for (const auto& name : sources_to_check(text, *config, stored)) {
    TRY_OK(session.ctx().check());
    check_live(session, opened, name, findings);
    if (!opened) continue;
    if (const auto known = session.stored_source(*opened, name))
      check_one_stored(session, *opened, *known, *config, findings);
    else if (known.error().code == Code::kNotFound)
      findings.note(name, "no backup yet", "varve backup " + shell_words({name}));
    else
      findings.error(name, known.error());
  }
  session.out().object(json_check(findings.all()));
  session.out().text(text_of(findings, session.out().style()));
  return findings.worst();
}

}  // namespace

void declare_check(Command root) {
  auto source = std::make_shared<std::string>();
  root.command("check", "everything that would make a backup or restore fail, each with its mend",
               "Opens the repository, writes and removes a probe, looks at each database and at what can be "
               "recovered. "
               "Ends with 0 when there are only notes and warnings.")
      .positional("SOURCE", *source, kOneSourceHelp)
      .example("varve check app.db", "one database and the repository")
      .action([source](Session& s) { return run(s, *source); });
}

}  // namespace varve::cli
