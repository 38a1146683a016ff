// Every command, one file each. A declare function adds its command, options and examples to the table, with
// the action that carries it out; the order of the calls in commands.cc is the order of the help.
#pragma once

#include "cli/command_line.h"

namespace varve::cli {

void declare_init(Command root);
void declare_check(Command root);
void declare_backup(Command root);
void declare_list(Command root);
void declare_show(Command root);
void declare_restore(Command root);
void declare_log(Command root);
void declare_history(Command root);
void declare_verify(Command root);
void declare_expire(Command root);
void declare_gc(Command root);
void declare_copy(Command root);
void declare_status(Command root);
void declare_key(Command root);
void declare_hold(Command root);
void declare_completion(Command root, const CommandLine& line);
void declare_docs(Command root, const CommandLine& line);

void declare_commands(CommandLine& line);

}  // namespace varve::cli
