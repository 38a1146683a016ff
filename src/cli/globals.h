// Options that every command takes, before or after its name.
#pragma once

#include <string>

#include "cli/command_line.h"

namespace varve::cli {

struct Globals {
  std::string repo, config;
  std::string passphrase_file, passphrase_command, key_file, key_command;
  std::string limit_rate;
  bool json = false, quiet = false, verbose = false, no_progress = false;
};

// `globals` must outlive the command line.
void declare(Command root, Globals& globals);

}  // namespace varve::cli
