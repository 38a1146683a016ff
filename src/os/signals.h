// SIGINT, SIGTERM and SIGHUP become a stop token; SIGPIPE is ignored. A second signal ends the process at
// once.
#pragma once

#include <stop_token>

namespace varve::os {

// Call once, before any thread starts. The token is stopped at the first signal.
std::stop_token install_stop_signals();

}  // namespace varve::os
