// Manifests: the committed description of one backup, and finding them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "repo/ids.h"
#include "repo/repository.h"

namespace varve::repo {

struct PackInfo {
  PackId id;
  uint64_t size = 0;
  codec::Checksum checksum{};
};

// A slot in a pack: where a page or a metadata frame is.
struct SlotPlace {
  PackId pack;
  uint32_t ordinal = 0;
  bool operator==(const SlotPlace&) const = default;
};

struct FileTableRef {
  SlotPlace place;
  std::string first_path, last_path;
  uint64_t files = 0;
};

struct Manifest {
  std::string id, source, engine, type, parent, base;
  Timestamp started = {}, finished = {}, moment = {};
  std::string start_position, stop_position;
  uint64_t size = 0, read = 0, stored = 0, pages_new = 0;
  std::string changed_pages_from, host, address, varve_version, database_version, lineage, epoch;
  uint32_t segment_pages = 0;
  uint64_t files = 0;
  std::vector<PackInfo> packs;  // ascending by id
  std::vector<FileTableRef> tables;
  Buffer engine_data;
  std::vector<std::string> catalogue;
  std::vector<std::string> collections_seen;
  std::string writer;
  std::vector<std::string> warnings;
  std::optional<Timestamp> retained_until;  // the store refuses to remove what it needs before (retention.h)

  const PackInfo* find_pack(const PackId& id) const;
};

Buffer encode(const Manifest& m);
// Checks everything that later code relies on; kDamaged otherwise.
Result<Manifest> decode_manifest(ByteView bytes);

// A manifest that could not be read: its name and why.
struct UnreadableManifest {
  store::Key key;
  Error error;
};
struct ManifestList {
  std::vector<Manifest> manifests;  // ascending by moment, then id
  std::vector<UnreadableManifest> unreadable;
};

Result<std::vector<std::string>> list_sources(const Repository& repo, const Context& ctx);
Result<std::vector<std::string>> list_backup_ids(const Repository& repo, const Context& ctx,
                                                 const std::string& source);
Result<Manifest> load_manifest(const Repository& repo, const Context& ctx, const std::string& source,
                               const std::string& backup);
// All of a source. An unreadable one does not hide the others.
Result<ManifestList> load_manifests(const Repository& repo, const Context& ctx, const std::string& source);

// The same one by one, in no order, so that the packs of many large manifests need not be in memory together.
// The callback is called by several threads, one at a time; its error ends it. Only a store that cannot be
// reached is an error of the whole; one removed since it was listed is passed over.
Result<> for_each_manifest(const Repository& repo, const Context& ctx, const std::string& source,
                           const std::function<Result<>(const std::string& id, Result<Manifest>)>& callback);

// One after the other, newest first, until the callback says false: by the second in which they began, which
// their names tell, and of one second those that cannot be read, then by moment. No second is read before it
// is come to: what every backup asks for must not cost more with each that is kept. Errors as above.
Result<> for_newest_manifests(
    const Repository& repo, const Context& ctx, const std::string& source,
    const std::function<Result<bool>(const std::string& id, Result<Manifest>)>& callback);

// The first of these that can be read.
struct NewestManifest {
  std::optional<Manifest> manifest;            // nullopt: there is none
  std::vector<UnreadableManifest> unreadable;  // those before it
};
Result<NewestManifest> newest_manifest(const Repository& repo, const Context& ctx, const std::string& source);

}  // namespace varve::repo
