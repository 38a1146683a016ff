// Two-phase collection of what no manifest needs. Condemn: publish a plan. Wait. Re-mark from all manifests,
// then remove or pardon. Safe against writers that started before, run now, or wake after any sleep, and
// against other collectors (docs/format/commit.md has the argument):
//  - what a plan condemns, no new manifest refers to, pardoned or not: a writer reads the plans after its
//  packs are
//    written and before its manifest;
//  - and once more after its manifest: if that refers to anything condemned, or if the writer's pin was
//  removed, the
//    manifest is withdrawn, and the backup fails loudly.
// Any unreadable manifest, pin or plan stops a collection before anything is removed.
#pragma once

#include <chrono>
#include <unordered_set>

#include "repo/ids.h"
#include "repo/manifest.h"
#include "repo/pin.h"
#include "repo/repository.h"

namespace varve::repo {

struct CollectionPlan {
  std::string id;
  Timestamp created = {}, not_before = {};
  std::vector<PackId> packs;
  std::vector<std::string> objects;  // leftovers, by name
  std::vector<WriterId> pins;        // that stood just before it was published
  bool done = false;
  std::vector<PackId> removed_packs;  // when done
  bool closed = false;
  std::vector<WriterId> closed_pins;  // when closed: that stood after it was done
};
// Ascending by time. kDamaged when any cannot be read.
Result<std::vector<CollectionPlan>> list_plans(const Repository& repo, const Context& ctx);

// What a writer asks: everything that any plan condemns.
struct Condemned {
  PackSet packs;
  std::vector<std::string> plan_ids;  // all read, for Manifest::collections_seen
};
// `known`: what an earlier call returned. A plan never changes, so only those published since are read.
Result<Condemned> read_condemned(const Repository& repo, const Context& ctx, Condemned known = {});

// W4 to W6 of a commit (docs/format/commit.md): reads the plans, puts the manifest (with collections_seen),
// reads those that came since, and checks that the pin stands. kConflict when a pack it needs is condemned:
// there is then no manifest, and the backup must be done anew. After any failure the manifest is withdrawn;
// if that fails too, the error says that the backup must not be used. Once the manifest is put, the caller's
// stop no longer counts. Where the repository promises to keep (retain()), what `m` needs is locked before,
// and it itself at the end; `locked_until` as `known` of extend_retention(). Returns the size of the stored
// object.
Result<uint64_t> commit_manifest(const Repository& repo, const Context& ctx, const Pin& pin,
                                 Manifest& manifest, std::optional<Timestamp> locked_until = {});

// Every pack that any manifest needs. Fails when any manifest cannot be read.
Result<PackSet> live_packs(const Repository& repo, const Context& ctx);

struct CollectOptions {
  std::chrono::seconds grace = std::chrono::hours(72);
  // How long the records of what was collected stay at least; they stay longer while anyone may need them.
  std::chrono::seconds keep_records = std::chrono::hours(30 * 24);
  // Puts that began longer ago and never ended are ended, and their remains removed.
  std::chrono::seconds unfinished = std::chrono::hours(24);
  bool now = false;      // no waiting: refused (kConflict) while any pin or live lease stands
  bool dry_run = false;  // counts what is due and what would be condemned; changes nothing
};
struct CollectReport {
  uint64_t packs_live = 0, packs_condemned = 0, packs_removed = 0, packs_pardoned = 0,
           packs_spared_for_pins = 0;
  uint64_t packs_retained = 0;  // the store refuses to remove them yet: tried again at each collection
  uint64_t bytes_condemned = 0, bytes_removed = 0;
  uint64_t objects_removed = 0;         // leftovers of an init; log pieces are removed by expire
  uint64_t unfinished_removed = 0;      // remains of puts that never ended
  uint64_t plans_waiting_for_pins = 0;  // due, but work that began before them is still under way
  std::vector<std::string> stale_pins_removed;
  std::vector<std::string> old_pins;  // older than 7 days: told; they hold up no plan and spare no pack
  // Packs that a manifest needs and that are not there, foreign objects in packs/. Each is logged as well.
  std::vector<std::string> problems;
  std::optional<Timestamp> next_due;  // when the youngest plan may be carried out
};
// Carries out the plans that are due, condemns anew, and cleans away what unfinished puts left. Pins of
// processes known dead on this host are removed; a pin older than 7 days is told, and no longer spares its
// packs from being condemned. A plan is not carried out while a pin stands that stood when it was published.
Result<CollectReport> collect(const Repository& repo, const Context& ctx, const CollectOptions& options);

}  // namespace varve::repo
