// Why a host's name was not resolved, which libcurl does not say.
#pragma once

#include <string>

#include "base/context.h"

namespace varve::net {

// Whether the resolver is sure that there is no such host: not when it cannot be asked, or takes more than
// two seconds for its answer. Ends early by ctx.
bool is_unknown_host(const Context& ctx, const std::string& host);

}  // namespace varve::net
