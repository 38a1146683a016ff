// The text of varve.json (docs/format/README.md).
#pragma once

#include "repo/repository.h"

namespace varve::repo {

std::string encode_config(const Config& config);
// kDamaged; kUnsupported for a newer format or an unknown feature needed to read.
Result<Config> decode_config(std::string_view text);
// kUnsupported when what writes to this repository, or copies it, must know what this program does not.
Result<> check_may_write(const Config& config);
// What each key object is bound to.
crypto::Digest config_digest(std::string_view text);

}  // namespace varve::repo
