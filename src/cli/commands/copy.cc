#include "backup/copy.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"
#include "repo/config.h"
#include "repo/sealed_json.h"

namespace varve::cli {
namespace {

constexpr auto kEvery = std::chrono::minutes(1);
constexpr int kLateAfter = 10;  // rounds that did not come to a good end

struct Options {
  std::string from, to, every, alarm;
  std::vector<std::string> sources, named;
  std::optional<uint32_t> workers;
  bool dry_run = false, deep = false, repair = false, trust_store = false, follow = false;
};

// One repository to one other.
struct Job {
  RepositoryPlace from, to;
  std::vector<std::string> sources;        // as typed; empty: everything
  std::optional<Timestamp> complete = {};  // when the last round began that left nothing out
  uint64_t problems = 0;                   // told already
};

bool same(const RepositoryPlace& a, const RepositoryPlace& b) {
  return a.url == b.url;
}

tl::unexpected<Error> where_to(const Session& session) {
  return fail(Code::kUsage, "copy to where?",
              fmt::format("{}\nor name copies in the plan of a source: copies = [\"offsite\"]",
                          session.typed("--to file:///mnt/offsite")));
}

// What the plans say: each source's repository to each of the plan's copies.
Result<std::vector<Job>> planned_jobs(Session& session, const Options& o) {
  TRY_ASSIGN(const plan::Configuration* config, session.configuration());
  std::vector<std::string> names = o.sources;
  if (names.empty())
    for (const auto& [name, source] : config->sources) names.push_back(name);
  std::vector<Job> jobs;
  for (const std::string& name : names) {
    const auto source = config->sources.find(name);
    if (source == config->sources.end() || source->second.plan.empty()) {
      if (o.sources.empty()) continue;
      return where_to(session);
    }
    for (const std::string& copy : config->plans.at(source->second.plan).copies) {
      Job job;
      TRY_ASSIGN(job.from, o.from.empty() ? session.place(name) : session.named_place(o.from));
      TRY_ASSIGN(job.to, session.named_place(copy));
      const auto known = std::find_if(jobs.begin(), jobs.end(), [&](const Job& j) {
        return same(j.from, job.from) && same(j.to, job.to);
      });
      if (known == jobs.end()) {
        job.sources = {name};
        jobs.push_back(std::move(job));
      } else {
        known->sources.push_back(name);
      }
    }
  }
  if (jobs.empty()) return where_to(session);
  return jobs;
}

Result<std::vector<Job>> jobs_of(Session& session, const Options& o) {
  if (o.to.empty()) return planned_jobs(session, o);
  Job job;
  TRY_ASSIGN(job.from, o.from.empty() ? session.place(o.sources.empty() ? "" : o.sources.front())
                                      : session.named_place(o.from));
  TRY_ASSIGN(job.to, session.named_place(o.to));
  job.sources = o.sources;
  return std::vector<Job>{std::move(job)};
}

// With the key if one is given; none is asked for.
Result<repo::RepositoryPtr> open_if_given(Session& session, const Job& job, const store::StorePtr& from) {
  TRY_ASSIGN(const Buffer text,
             store::get_bytes(*from, session.ctx(), std::string(repo::kConfigKey), repo::kMaxJsonObject));
  TRY_ASSIGN(const repo::Config config, repo::decode_config(as_text(text)));
  std::optional<repo::KeySource> key;
  if (config.encryption == repo::Encryption::kNone) {
    key.emplace();
  } else {
    TRY_ASSIGN(key, session.given_secret(job.from));
    if (!key) {
      TRY_ASSIGN(key, session.given_secret(job.to));
    }
  }
  if (!key) return nullptr;
  return repo::Repository::open(session.ctx(), from, *key);
}

// In the copy's trail, which only the key can write. The trail is kept for ever: of a copy that goes on, the
// rounds are told that brought a backup or something new to tell, not every minute's pieces of the log.
void record(Session& session, const Options& o, const Job& job, const repo::RepositoryPtr& opened,
            const store::StorePtr& to, const backup::CopyReport& r) {
  if (!opened || r.dry_run) return;
  const bool told =
      o.follow ? r.backups > 0 || r.problems.size() != job.problems : r.objects > 0 || !r.problems.empty();
  if (!told && r.repaired == 0) return;
  session.record(*opened->copy_in(to, Session::retain(job.to)), "copy", "", "",
                 r.problems.empty() ? "done" : "problems", measured_detail({r.bytes, r.seconds}));
}

Result<backup::CopyReport> run_job(Session& session, const Options& o, const Job& job) {
  TRY_ASSIGN(const store::StorePtr from, session.open_store(job.from, false, true));
  TRY_ASSIGN(const store::StorePtr to, session.open_store(job.to, !o.dry_run, o.dry_run));
  backup::CopyOptions options;
  options.deep = o.deep;
  options.repair = o.repair;
  options.dry_run = o.dry_run;
  options.trust_store = o.trust_store;
  options.retain = Session::retain(job.to);
  TRY_ASSIGN(options.workers, number_within("--workers", o.workers.value_or(0), 0, 64));
  auto opened = open_if_given(session, job, from);
  if (!opened && opened.error().code == Code::kNotFound)
    return fail(Code::kNotFound, fmt::format("there is no repository at {}", from->describe()));
  if (!opened) return fail(std::move(opened).error());
  options.opened = *opened;
  for (const std::string& text : job.sources) {
    TRY_ASSIGN(std::string name, session.name_in_store(*from, text));
    options.sources.push_back(std::move(name));
  }
  Progress progress;
  auto report = [&] {
    const ProgressDisplay display(progress,
                                  o.follow ? ProgressDisplay::Mode::kNone : session.progress_mode());
    return backup::copy(session.ctx(), from, to, options, progress);
  }();
  if (!report) {
    Error error = std::move(report).error();
    if (error.hint.empty() && (error.code == Code::kUnreachable || error.code == Code::kInterrupted))
      error.hint = "run it again: what is there already is not copied again";
    return fail(std::move(error));
  }
  if (!options.opened)
    report->notes.push_back(
        options.sources.empty()
            ? "without a key: checked for damage, not for forgery"
            : "without a key it cannot be told which packs these sources need: all were copied");
  record(session, o, job, options.opened, to, *report);
  return report;
}

Result<int> run_once(Session& session, const Options& o, std::vector<Job>& jobs) {
  int worst = 0;
  for (const Job& job : jobs) {
    auto report = run_job(session, o, job);
    if (!report && jobs.size() == 1) return fail(std::move(report).error());
    if (!report) {  // the other copies are made all the same
      if (report.error().code == Code::kInterrupted) return fail(std::move(report).error());
      session.out().error(report.error());
      worst = std::max(worst, exit_code(report.error().code));
      continue;
    }
    session.out().object(json_copy(*report));
    session.out().text(copied(*report, session.out().style()));
    if (!report->problems.empty()) worst = std::max(worst, exit_code(Code::kDamaged));
  }
  return worst;
}

// What another round will not mend: told at once, in place of an alarm later.
bool is_for_good(Code code) {
  return code == Code::kUsage || code == Code::kUnsupported || code == Code::kConflict;
}

Result<> follow_round(Session& session, const Options& o, Job& job, Seconds alarm, bool first) {
  const Timestamp begun = now();
  auto report = run_job(session, o, job);
  const std::string clock = to_local(begun).substr(11, 8);
  if (report) {
    if (report->objects > 0 || report->problems.size() != job.problems) {
      session.out().object(json_copy(*report));
      session.out().text(clock + "  " + copied(*report, session.out().style()));
    }
    job.problems = report->problems.size();
    if (report->problems.empty()) job.complete = begun;
  } else if (first && is_for_good(report.error().code)) {
    return fail(std::move(report).error());
  } else if (report.error().code != Code::kInterrupted) {
    log::warn("{} was not copied: {}", printable(job.from.url), report.error().describe());
  }
  if (now() - *job.complete > alarm && !session.ctx().stop.stop_requested())
    log::warn("the copy at {} lags: what came after {} is not there yet", printable(job.to.url),
              to_local(*job.complete));
  (void)session.out().flush();
  return {};
}

Result<int> follow(Session& session, const Options& o, std::vector<Job>& jobs) {
  Seconds every = kEvery;
  if (!o.every.empty()) {
    TRY_ASSIGN(every, duration_value("--every", o.every));
  }
  Seconds alarm = every * kLateAfter;
  if (!o.alarm.empty()) {
    TRY_ASSIGN(alarm, duration_value("--alarm", o.alarm));
  }
  for (Job& job : jobs) job.complete = now();
  for (bool first = true;; first = false) {
    const auto next = SteadyClock::now() + every;
    for (Job& job : jobs) TRY_OK(follow_round(session, o, job, alarm, first));
    const auto left =
        std::max<SteadyClock::duration>(next - SteadyClock::now(), std::chrono::milliseconds(100));
    if (!session.ctx().sleep(left)) return 0;  // asked to stop: every round leaves a whole copy
  }
}

Result<int> run(Session& session, const Options& o) {
  if (o.follow && o.dry_run)
    return fail(Code::kUsage, "--dry-run excludes --follow and --every", "leave out one of them");
  if (!o.follow && !o.alarm.empty())
    return fail(Code::kUsage, "--alarm is for a copy that goes on", "add --follow, or --every 5m");
  TRY_ASSIGN(std::vector<Job> jobs, jobs_of(session, o));
  for (const Job& job : jobs)
    if (same(job.from, job.to))
      return fail(Code::kUsage, fmt::format("{} would be copied to itself", printable(job.from.url)));
  return o.follow ? follow(session, o, jobs) : run_once(session, o, jobs);
}

}  // namespace

void declare_copy(Command root) {
  auto o = std::make_shared<Options>();
  root.command(
          "copy", "replicate a repository, or some of its sources, to another store",
          "What is at one and not at the other is copied as it is stored, checked before and read back "
          "after. The copy is the same repository: it opens with the same keys and restores by itself. "
          "Needs no key; with one it copies only the packs that backups need, and finds forgeries. What "
          "goes at the original stays at the copy: expire and gc are run there as well. Without --to the "
          "plans of the configuration say where to: copies = [\"offsite\"]. Ends with 4 when an object "
          "could not be copied because it is damaged.")
      .positional("SOURCE", o->sources, "Only these sources; left out: everything")
      .option("--from", o->from, "REPO", "The original (as --repo)")
      .option("--to", o->to, "REPO", "The copy: a name from the configuration, a URL, or a folder")
      .option("--source", o->named, "SOURCE", "As SOURCE")
      .flag("--follow", o->follow, "Go on until stopped (SIGINT or SIGTERM)")
      .option("--every", o->every, "DURATION", "Go on, and look this often (1m)")
      .option("--alarm", o->alarm, "DURATION",
              "With --follow: warn when the copy was not complete for so long (ten times --every)")
      .flag("--deep", o->deep, "Read and compare also what both have")
      .flag("--repair", o->repair, "Replace what is damaged at the copy and sound at the original")
      .flag("--trust-store", o->trust_store, "Do not read back what was copied")
      .flag("--dry-run", o->dry_run, "Only tell what would be copied")
      .option("--workers", o->workers, "N", "Objects under way at once (4)")
      .example("varve copy --to ./offsite", "everything, to another folder")
      .example("varve copy --from ./backups --to ./offsite app.db --dry-run",
               "what a copy of one source lacks")
      .example("varve copy --to ./offsite --deep", "and compare what was copied before, byte by byte")
      .example("varve copy --to ./offsite --every 5m --alarm 1h", "and go on with it, for a service manager")
      .action([o](Session& s) {
        o->sources.insert(o->sources.end(), o->named.begin(), o->named.end());
        o->follow = o->follow || !o->every.empty();
        return run(s, *o);
      });
}

}  // namespace varve::cli
