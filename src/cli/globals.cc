#include "cli/globals.h"

namespace varve::cli {

void declare(Command root, Globals& g) {
  root.option("--repo", g.repo, "REPO",
              "The repository: a name from the configuration, a URL such as file:///srv/backups, or a folder")
      .environment("VARVE_REPO");
  root.option("--config", g.config, "FILE",
              "The configuration; else ./varve.toml, else /etc/varve/varve.toml")
      .environment("VARVE_CONFIG");
  root.option("--passphrase-file", g.passphrase_file, "FILE", "Read the passphrase from a file's first line");
  root.option("--passphrase-command", g.passphrase_command, "COMMAND",
              "Run a program (without a shell) and take the passphrase from its output");
  root.option("--key-file", g.key_file, "FILE", "The key file that opens the repository");
  root.option("--key-command", g.key_command, "COMMAND",
              "Run a program (without a shell) that writes the key file's content to its output");
  root.option("--limit-rate", g.limit_rate, "SIZE",
              "Send and fetch at most so much a second, such as 20MiB; 0: no limit");
  root.flag("--json", g.json, "Write one JSON object, documented in docs/cli.md, instead of text");
  root.flag("-q,--quiet", g.quiet, "Write nothing but errors");
  root.flag("-v,--verbose", g.verbose, "Tell more on standard error");
  root.flag("--no-progress", g.no_progress, "No progress");
}

}  // namespace varve::cli
