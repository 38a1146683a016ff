#include "backup/verify.h"

#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source;
  bool quick = false;
  std::optional<uint32_t> workers;
};

Result<int> run(Session& session, const Options& o) {
  backup::VerifyOptions options;
  options.quick = o.quick;
  TRY_ASSIGN(options.workers, number_within("--workers", o.workers.value_or(0), 0, 64));
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open(o.source, Session::Access::kWrite));
  if (!o.source.empty()) {
    TRY_ASSIGN(options.source, session.stored_source(*repo, o.source));
  }
  Progress progress;
  const auto start = SteadyClock::now();
  auto report = [&] {
    const ProgressDisplay display(progress, session.progress_mode());
    return backup::verify(repo, session.ctx(), options, progress);
  }();
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
  // A quick one proves that the bytes are there, not that they decrypt: it is told apart in the trail.
  const char* what = o.quick ? "verify-quick" : "verify";
  if (!report) {
    session.record(*repo, what, options.source, "", "failed", report.error().describe());
    return fail(std::move(report).error());
  }
  session.record(*repo, what, options.source, "", report->problems.empty() ? "done" : "problems",
                 measured_detail({report->bytes, seconds}));
  session.out().object(json_verify(*report));
  session.out().text(verified(*report, seconds, session.out().style()));
  return report->problems.empty() ? 0 : exit_code(Code::kDamaged);
}

}  // namespace

void declare_verify(Command root) {
  auto o = std::make_shared<Options>();
  root.command("verify", "every byte read, decrypted and checked",
               "Ends with 4 when anything is wrong; each problem names its object and what cannot be "
               "restored because "
               "of it.")
      .positional("SOURCE", o->source, "Only this source; left out: the whole repository")
      .flag("--quick", o->quick, "Check each object's bytes against its checksum, without decrypting")
      .option("--workers", o->workers, "N", "Threads (as many as cores, at most 8)")
      .example("varve verify", "the whole repository")
      .example("varve verify app.db --quick", "the objects of one source, without decrypting them")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
