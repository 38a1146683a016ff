#include "cli/commands/commands.h"

namespace varve::cli {

void declare_commands(CommandLine& line) {
  Command root = line.root();
  declare_init(root);
  declare_check(root);
  declare_backup(root);
  declare_list(root);
  declare_show(root);
  declare_restore(root);
  declare_log(root);
  declare_history(root);
  declare_verify(root);
  declare_expire(root);
  declare_gc(root);
  declare_copy(root);
  declare_status(root);
  declare_key(root);
  declare_hold(root);
  declare_completion(root, line);
  declare_docs(root, line);
}

}  // namespace varve::cli
