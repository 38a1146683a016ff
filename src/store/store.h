// A place for objects: what Varve asks of a local folder, a bucket, or an SFTP server. One interface, small
// drivers; whatever is common (retries, limits, caching) is a decorator in wrap/.
//
// Contract, held by tests/contract/store_contract.h for every driver:
//  - A put is atomic and durable when it returns: a reader sees the whole object or none, also after a crash.
//  - kCreateOnly never replaces: of racing puts exactly one succeeds, the others get Code::kExists.
//  - After a put or remove returned, every get, head and list (from any client) agrees with it.
//  - Objects are immutable once written, unless put kUnconditional (Varve does that only to probe).
//  - All methods are thread-safe. Failures carry Retry: only what is known to pass is kTransient or
//  kThrottled.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "base/time.h"

namespace varve::store {

// An object's name: segments of [A-Za-z0-9._=@+-] joined by '/', no empty one and none beginning with '.'
// (drivers keep temporary names there), each ≤ 255 bytes and all ≤ 512. check_key() says what is wrong
// (kUsage). No key is also a folder of another ("a" beside "a/b"): folders are real in some drivers, and
// there it is kConflict.
using Key = std::string;
Result<> check_key(std::string_view key);

enum class PutMode { kCreateOnly, kUnconditional };

struct PutOptions {
  PutMode mode = PutMode::kCreateOnly;
  std::optional<Timestamp> retain_until = {};  // kUnsupported when capabilities().retention is false
};

struct Range {
  uint64_t offset = 0;
  uint64_t length = UINT64_MAX;  // to the end
};

struct ObjectInfo {
  Key key;
  uint64_t size = 0;
  Timestamp modified = {};                     // by the store's clock
  std::optional<Timestamp> retain_until = {};  // head only
};

struct ListPage {
  std::vector<ObjectInfo> objects;  // ascending by key (bytewise)
  std::string next;                 // empty: the end
};

struct RemoveResult {
  Key key;
  Result<> result;  // an absent key is a success
};

struct Capabilities {
  bool create_only = true;  // as the driver believes; init probes
  bool retention = false;   // retain_until and extend_retention
  uint64_t max_object = UINT64_MAX;
};

// Receives consecutive parts of a body; an error ends the get and is returned from it.
using Sink = std::function<Result<>(ByteView)>;
// A body in pieces, in order. The bytes stay with the caller until put() returns.
using Body = std::span<const ByteView>;

uint64_t body_size(Body body);
// How many bytes a get of this range delivers from an object of this size.
uint64_t range_size(Range range, uint64_t object_size);

class Store {
 public:
  virtual ~Store() = default;
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  virtual Capabilities capabilities() const = 0;
  // kExists: create-only and taken. kNoSpace, kDenied, kUnreachable as they are.
  virtual Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) = 0;
  // The size of the whole object. A range wholly or partly beyond the end delivers what there is. kNotFound
  // when absent. After a failure the sink may have received a part.
  virtual Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) = 0;
  virtual Result<ObjectInfo> head(const Context& ctx, const Key& key) = 0;  // kNotFound when absent
  // Keys that begin with prefix (any text, not only whole segments), a page at a time. token: empty, or a
  // page's next.
  virtual Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                                size_t most = 1000) = 0;
  // One result per key, in order. Not atomic: each key for itself. kConflict for an object under retention.
  virtual Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) = 0;
  // Never shortens: an earlier time is a success that changes nothing.
  virtual Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) = 0;
  // How many gets are best under way at once, to hide the way there and back; 0: there is none to hide, and
  // more than there are cores are no use.
  virtual size_t parallel_gets() const { return 0; }
  // Removes what puts that never ended left in the store, began longer ago than `age`, and is no object:
  // parts of uploads, temporary files. Their writers, should they live, get an error from their put. Returns
  // how many. Where the store forgets such by itself, or keeps none: 0.
  virtual Result<uint64_t> remove_unfinished(const Context& ctx, Seconds age) {
    (void)age;
    return ctx.check().map([] { return uint64_t{0}; });
  }
  // The address without secrets: "file:///srv/backups".
  virtual std::string describe() const = 0;
  // Other stores with the same objects, in order: where what was read here turns out to be damaged, the same
  // key may be read there (wrap/fallback.h). Nearly always none.
  virtual std::span<const std::shared_ptr<Store>> alternatives() const { return {}; }
  // What must be granted, at least, in the store's own words; empty where nothing is granted
  virtual std::string policy() const { return {}; }
};

using StorePtr = std::shared_ptr<Store>;

// The calls everyone needs, from the six above.
Result<> put_bytes(Store& s, const Context& ctx, const Key& key, ByteView bytes,
                   const PutOptions& options = {});
// kDamaged when there is more than max_size to return.
Result<Buffer> get_bytes(Store& s, const Context& ctx, const Key& key, uint64_t max_size, Range range = {});
Result<bool> exists(Store& s, const Context& ctx, const Key& key);
// Every key under prefix, page by page; the callback's error ends it.
Result<> for_each(Store& s, const Context& ctx, const std::string& prefix,
                  const std::function<Result<>(const ObjectInfo&)>& callback);
Result<> remove_one(Store& s, const Context& ctx, const Key& key);

}  // namespace varve::store
