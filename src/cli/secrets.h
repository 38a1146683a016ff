// How a passphrase or key reaches us. Never a command line argument: others on the machine could read it.
#pragma once

#include <string>

#include "base/context.h"
#include "cli/globals.h"
#include "crypto/crypto.h"
#include "plan/config.h"
#include "repo/repository.h"

namespace varve::cli {

// Takes $VARVE_PASSPHRASE and wipes it from the environment, so that no program we start and no reader of
// /proc/self/environ sees it. Before any thread starts.
crypto::SecretText take_environment_passphrase();

// Where a secret comes from. At most one is set; none: to be asked for.
struct SecretPlace {
  std::string passphrase_file, passphrase_command, key_file, key_command;
  bool empty() const;
  bool is_key() const { return !key_file.empty() || !key_command.empty(); }
};
// kUsage when more than one is given.
Result<SecretPlace> secret_place(const std::string& passphrase_file, const std::string& passphrase_command,
                                 const std::string& key_file, const std::string& key_command);
SecretPlace secret_place(const plan::RepositoryConfig& config);

// Reads it. kUsage for an empty secret, or a command that fails.
Result<repo::KeySource> read_secret(const Context& ctx, const SecretPlace& place);

// The first line of a passphrase file's or command's content, without its line end. kUsage when empty or not
// the only one.
Result<crypto::SecretText> passphrase_from_text(std::string_view content, const std::string& origin);

// Asks on the terminal without echo. kUsage, telling how else to give one, when there is no terminal.
// `twice`: a new one, repeated until both are the same (three tries).
Result<crypto::SecretText> ask_passphrase(const Context& ctx, const std::string& question, bool twice);

}  // namespace varve::cli
