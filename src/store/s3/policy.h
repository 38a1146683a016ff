#pragma once

#include "store/s3/options.h"

namespace varve::store::s3 {

// The least that must be granted to use a store so, as an IAM policy in JSON.
std::string policy_of(const Options& options);

}  // namespace varve::store::s3
