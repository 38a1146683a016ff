#include "cli/report.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "cli/words.h"

namespace varve::cli {
namespace {

struct Rate {
  double bytes_per_second = 0;
  std::string from;
};

// How fast it went the last time: a restore tells most; a verification reads all the same; a backup at least
// the disk.
Rate last_rate(const backup::SourceState& state, const std::vector<repo::AuditEvent>& events) {
  for (const char* what : {"restore", "verify"}) {
    for (auto e = events.rbegin(); e != events.rend(); ++e) {
      if (e->what != what || (std::string_view(what) == "restore" && e->source != state.source)) continue;
      const auto measured = parse_measured(e->detail);
      if (measured && measured->bytes > 0 && measured->seconds > 0)
        return {static_cast<double>(measured->bytes) / measured->seconds, what};
    }
  }
  const auto& manifests = state.backups.manifests;
  for (auto m = manifests.rbegin(); m != manifests.rend(); ++m) {
    const double seconds = std::chrono::duration<double>(m->finished - m->started).count();
    if (m->read > 0 && seconds > 0) return {static_cast<double>(m->read) / seconds, "backup"};
  }
  return {};
}

uint64_t log_bytes(const backup::SourceState& state, const std::string& epoch) {
  uint64_t out = 0;
  for (const auto& e : state.epochs) {
    if (e.epoch != epoch) continue;
    // Merged pieces hold what single ones hold too: what a restore reads is at most the longest of each
    // start.
    uint64_t covered = 0;
    for (const auto& p : e.pieces) {
      if (p.last <= covered) continue;
      covered = p.last;
      out += p.size;
    }
  }
  return out;
}

}  // namespace

std::string measured_detail(const Measured& m) {
  return fmt::format("bytes={} seconds={:.3f}", m.bytes, m.seconds);
}

std::optional<Measured> parse_measured(const std::string& detail) {
  Measured m;
  unsigned long long bytes = 0;
  if (std::sscanf(detail.c_str(), "bytes=%llu seconds=%lf", &bytes, &m.seconds) != 2) return std::nullopt;
  m.bytes = bytes;
  return m;
}

SourceStatus assess(const backup::SourceState& state, const std::vector<repo::AuditEvent>& events) {
  SourceStatus out;
  out.name = state.source;
  const auto& manifests = state.backups.manifests;
  out.backups = manifests.size();
  if (!manifests.empty()) {
    out.engine = manifests.back().engine;
    out.bytes = manifests.back().size;
  }
  for (const auto& u : state.backups.unreadable) out.problems.push_back("unreadable " + unreadable_text(u));
  for (const auto& e : state.epochs)
    if (e.gap)
      out.problems.push_back(fmt::format("the log from {} has a gap after {}", e.epoch,
                                         backup::position_text(e.epoch, e.gap_after)));
  const backup::Window* newest = nullptr;
  for (const auto& w : state.windows) {
    if (!newest || w.to >= newest->to) newest = &w;
    out.recoverable_from = std::min(out.recoverable_from.value_or(w.from), w.from);
    out.following = out.following || w.live;
  }
  out.recoverable = newest != nullptr;
  if (newest) {
    out.recoverable_to = newest->to;
    const Rate rate = last_rate(state, events);
    out.bytes_per_second = rate.bytes_per_second;
    out.rate_from = rate.from;
    const uint64_t bytes = out.bytes + (newest->epoch.empty() ? 0 : log_bytes(state, newest->epoch));
    if (rate.bytes_per_second > 0)
      out.restore_time =
          Seconds(static_cast<int64_t>(std::ceil(static_cast<double>(bytes) / rate.bytes_per_second)));
  }
  for (const auto& e : events) {
    if (e.what != "verify" || (!e.source.empty() && e.source != state.source)) continue;
    if (e.outcome == "done") {
      out.proven = e.time;
      out.last_failed.reset();
    } else {
      out.last_failed = e.time;
    }
  }
  if (out.last_failed)
    out.problems.push_back("the last verification found problems: varve verify " + state.source);
  return out;
}

}  // namespace varve::cli
