// varve: reads the command line, does what it says, and tells how it went.
#include <cstdio>
#include <exception>

#include "base/log.h"
#include "cli/command_line.h"
#include "cli/commands/commands.h"
#include "cli/globals.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/secrets.h"
#include "cli/session.h"
#include "crypto/crypto.h"
#include "os/signals.h"
#include "os/trace.h"

namespace varve::cli {
namespace {

constexpr char kSummary[] = "point-in-time backup and recovery of databases";
constexpr char kAbout[] =
    "Keeps each backup of a database, and its log between the backups, in a repository, and brings back the "
    "whole "
    "database or one table as of any moment.\n\n"
    "SOURCE is a database: a name from the configuration or the repository, or an address such as "
    "sqlite:app.db. A "
    "repository is encrypted; its passphrase comes from $VARVE_PASSPHRASE, a file, a command or the "
    "terminal.";

// Before the command line could be read: a program that asked for JSON gets JSON.
bool asks_for_json(const std::vector<std::string>& arguments) {
  for (const auto& a : arguments) {
    if (a == "--") return false;
    if (a == "--json") return true;
  }
  return false;
}

Result<int> run_action(const CommandLine::Parsed& parsed, const Globals& globals, const Output& out,
                       crypto::SecretText passphrase, const std::vector<std::string>& arguments,
                       std::stop_token stop) {
  TRY_OK(crypto::init());
  TRY_OK(os::install_fault_from_environment());
  log::set_level(globals.verbose                 ? log::Level::kInfo
                 : globals.quiet || globals.json ? log::Level::kError
                                                 : log::Level::kWarn);
  Context ctx;
  ctx.stop = std::move(stop);
  Session session(globals, std::move(ctx), out, std::move(passphrase), arguments);
  return parsed.action(session);
}

// PostgreSQL takes any end of a restore_command from 1 to 125 for "this file is not there", ends its recovery
// and opens the database; and of an archive_command anything above 125 for a reason to stop its archiver. So
// a failed `log fetch` must not look like an answer, nor a failed `log push` like a catastrophe.
int failed_status(const std::vector<std::string>& arguments, int status) {
  constexpr int kNoAnswer = 200, kFailed = 1;
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] != "log") continue;
    if (arguments[i + 1] == "fetch") return kNoAnswer;
    if (arguments[i + 1] == "push" && status > 125) return kFailed;
  }
  return status;
}

int run(const std::vector<std::string>& arguments) {
  crypto::SecretText passphrase = take_environment_passphrase();
  const std::stop_token stop = os::install_stop_signals();
  Globals globals;
  CommandLine line("varve", kSummary, kAbout);
  declare(line.root(), globals);
  declare_commands(line);
  const auto parsed = line.parse(arguments);
  if (!parsed) {
    Output(asks_for_json(arguments), false).error(parsed.error());
    return failed_status(arguments, exit_code(parsed.error().code));
  }
  const Output out(globals.json, globals.quiet);
  int status = parsed->exit_code;
  if (!parsed->action) {
    out.raw(parsed->text);
  } else {
    const auto done = run_action(*parsed, globals, out, std::move(passphrase), arguments, stop);
    if (!done) out.error(done.error());
    status = done ? *done : failed_status(arguments, exit_code(done.error().code));
  }
  if (const auto flushed = out.flush(); !flushed) {
    Output(false, false).error(flushed.error());
    if (status == 0) status = failed_status(arguments, exit_code(flushed.error().code));
  }
  return status;
}

}  // namespace
}  // namespace varve::cli

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    return varve::cli::run(arguments);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\nhint: this is a mistake of varve itself; please report it\n", e.what());
    return varve::cli::failed_status(arguments, 1);
  }
}
