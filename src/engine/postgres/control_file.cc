#include "engine/postgres/control_file.h"

#include <bit>
#include <fmt/format.h>

#include "base/text.h"
#include "codec/crc32c.h"

namespace varve::engine::postgres {
namespace {

// Offsets in ControlFileData where pointers and 64-bit integers are aligned to 8 bytes; the fields up to
// data_checksum_version stand in the same places in all versions from 13 to 18. (18 put wal_level of the
// checkpoint into a hole, and one flag before the nonce.)
constexpr size_t kVersionAt = 8, kCatalogAt = 12, kStateAt = 16, kTimeAt = 24, kCheckpointAt = 32;
constexpr size_t kRedoAt = 40, kTimelineAt = 48, kFullPageWritesAt = 56, kCheckpointTimeAt = 104;
constexpr size_t kMinRecoveryAt = 136, kMinRecoveryTimelineAt = 144, kBackupStartAt = 152, kBackupEndAt = 160,
                 kBackupEndRequiredAt = 168;
constexpr size_t kWalLevelAt = 172, kWalLogHintsAt = 176, kMaxConnectionsAt = 180, kMaxWorkersAt = 184,
                 kMaxWalSendersAt = 188, kMaxPreparedAt = 192, kMaxLocksAt = 196;
constexpr size_t kMaxAlignAt = 204, kFloatAt = 208, kPageSizeAt = 216, kSegmentPagesAt = 220,
                 kWalPageSizeAt = 224, kWalSegmentAt = 228, kChecksumAt = 252;
constexpr double kFloat = 1234567.0;
constexpr uint32_t kVersion13 = 1300, kVersion17 = 1700, kVersion18 = 1800;
constexpr size_t kCrcAt13 = 288, kCrcAt18 = 292;

constexpr int kTries = 50;
constexpr auto kPause = std::chrono::milliseconds(100);

tl::unexpected<Error> damaged(std::string what) {
  return fail(Code::kDamaged, fmt::format("pg_control: {}", what));
}

bool is_power_of_two(uint32_t v, uint32_t least, uint32_t most) {
  return std::has_single_bit(v) && v >= least && v <= most;
}

Result<> check_values(const ControlFile& c, ByteView bytes) {
  if (load_le<uint32_t>(bytes.data() + kMaxAlignAt) != 8 ||
      std::bit_cast<double>(load_le<uint64_t>(bytes.data() + kFloatAt)) != kFloat)
    return fail(Code::kUnsupported, "pg_control: the cluster is of another kind of machine",
                "Varve reads clusters of 64-bit little-endian machines");
  if (!is_power_of_two(c.page_size, 1024, 32768)) return damaged("an impossible page size");
  if (!is_power_of_two(c.wal_page_size, 1024, 65536)) return damaged("an impossible WAL page size");
  if (!is_power_of_two(c.wal_segment_size, 1u << 20, 1u << 30))
    return damaged("an impossible WAL segment size");
  if (c.segment_pages == 0 || c.segment_pages > (uint64_t{1} << 40) / c.page_size)
    return damaged("an impossible size of relation files");
  if (c.system_id == 0 || c.timeline == 0) return damaged("no system identifier or timeline");
  if (c.state > ClusterState::kInProduction) return damaged("an unknown state");
  if (c.wal_level > 2) return damaged("an unknown wal_level");
  return {};
}

}  // namespace

std::string_view state_name(ClusterState state) {
  switch (state) {
    case ClusterState::kStartup:
      return "starting up";
    case ClusterState::kShutDown:
      return "shut down";
    case ClusterState::kShutDownInRecovery:
      return "shut down in recovery";
    case ClusterState::kShuttingDown:
      return "shutting down";
    case ClusterState::kCrashRecovery:
      return "in crash recovery";
    case ClusterState::kArchiveRecovery:
      return "in archive recovery";
    case ClusterState::kInProduction:
      return "in production";
  }
  return "unknown";
}

Result<ControlFile> parse_control_file(ByteView bytes) {
  if (bytes.size() < kCrcAt18 + 4) return damaged("it is too short");
  const auto u32 = [&](size_t at) { return load_le<uint32_t>(bytes.data() + at); };
  const auto u64 = [&](size_t at) { return load_le<uint64_t>(bytes.data() + at); };
  const auto flag = [&](size_t at) { return bytes[at] != std::byte{0}; };
  ControlFile c;
  c.control_version = u32(kVersionAt);
  if (c.control_version != kVersion13 && c.control_version != kVersion17 && c.control_version != kVersion18)
    return fail(Code::kUnsupported, fmt::format("pg_control has the unknown version {}", c.control_version),
                "PostgreSQL 13 to 18 are supported");
  const size_t crc_at = c.control_version == kVersion18 ? kCrcAt18 : kCrcAt13;
  if (codec::crc32c(bytes.first(crc_at)) != u32(crc_at)) return damaged("its checksum is wrong");
  c.system_id = u64(0);
  c.catalog_version = u32(kCatalogAt);
  c.state = static_cast<ClusterState>(u32(kStateAt));
  c.time = static_cast<int64_t>(u64(kTimeAt));
  c.checkpoint = u64(kCheckpointAt);
  c.redo = u64(kRedoAt);
  c.timeline = u32(kTimelineAt);
  c.full_page_writes = flag(kFullPageWritesAt);
  c.checkpoint_time = static_cast<int64_t>(u64(kCheckpointTimeAt));
  c.min_recovery_point = u64(kMinRecoveryAt);
  c.min_recovery_timeline = u32(kMinRecoveryTimelineAt);
  c.backup_start = u64(kBackupStartAt);
  c.backup_end = u64(kBackupEndAt);
  c.backup_end_required = flag(kBackupEndRequiredAt);
  c.wal_level = u32(kWalLevelAt);
  c.wal_log_hints = flag(kWalLogHintsAt);
  c.max_connections = u32(kMaxConnectionsAt);
  c.max_worker_processes = u32(kMaxWorkersAt);
  c.max_wal_senders = u32(kMaxWalSendersAt);
  c.max_prepared_transactions = u32(kMaxPreparedAt);
  c.max_locks_per_transaction = u32(kMaxLocksAt);
  c.page_size = u32(kPageSizeAt);
  c.segment_pages = u32(kSegmentPagesAt);
  c.wal_page_size = u32(kWalPageSizeAt);
  c.wal_segment_size = u32(kWalSegmentAt);
  c.checksum_version = u32(kChecksumAt);
  TRY_OK(check_values(c, bytes));
  return c;
}

Result<ControlFileImage> read_control_file(const Context& ctx, const os::Path& data_directory) {
  const os::Path path = data_directory / kControlPath;
  for (int attempt = 1;; ++attempt) {
    ControlFileImage out;
    TRY_ASSIGN(out.bytes, os::read_file(path, kControlSize));
    auto parsed = parse_control_file(out.bytes);
    if (parsed) {
      out.control = *parsed;
      return out;
    }
    if (parsed.error().code != Code::kDamaged || attempt == kTries)
      return fail(std::move(parsed).error().with_context("while reading " + printable(path.native())));
    TRY_OK(ctx.sleep(kPause));
  }
}

}  // namespace varve::engine::postgres
