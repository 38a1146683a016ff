// Bringing a body into an object: in one request, or in a session that goes on where a connection broke.
#pragma once

#include "store/gcs/api.h"
#include "store/store.h"

namespace varve::store::gcs {

struct Upload {
  std::string metadata;  // JSON: name, type, checksum, …
  Query query;           // conditions
  Body body;
  uint64_t size = 0;
  std::string doing;  // "putting a/b into gs://bucket"
};

// uploadType=multipart: metadata and body together.
Result<ObjectAnswer> upload_at_once(Api& api, const Context& ctx, const Upload& upload);

// uploadType=resumable. After a failure that may pass it asks what has arrived and goes on from there, so
// many times as progress allows (kMostIdle without any); then the failure is returned, and the session is
// dropped.
Result<ObjectAnswer> upload_resumable(Api& api, const Context& ctx, const Upload& upload);

}  // namespace varve::store::gcs
