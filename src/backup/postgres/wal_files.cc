#include "backup/postgres/wal_files.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/postgres/wal_format.h"

namespace varve::backup::postgres {
// XLogLongPageHeaderData of src/include/access/xlog_internal.h.
Result<WalFile> identify_segment(const os::Path& path, db::Timeline timeline) {
  TRY_ASSIGN(const os::File file, os::File::open(path, os::File::Mode::kRead));
  TRY_ASSIGN(const uint64_t size, file.size());
  Buffer header(db::kLongHeader);
  const auto damaged = [&](const char* what) {
    return fail(Code::kDamaged, fmt::format("{}: {}", path.string(), what),
                "is it a segment of PostgreSQL's WAL?");
  };
  if (size < header.size()) return damaged("is too short");
  TRY_OK(file.read_exact_at(0, header));
  const auto magic = load_le<uint16_t>(header.data()), info = load_le<uint16_t>(header.data() + 2);
  if ((magic & 0xff00) != 0xd100 || !(info & db::page_flag::kLong))
    return damaged("does not begin as a segment does");
  if (!db::version_of_magic(magic))
    return fail(Code::kUnsupported,
                fmt::format("{}: WAL of a version that is not known (0x{:04X})", path.string(), magic),
                "PostgreSQL 13 to 18 are supported");
  WalFile out;
  out.timeline = timeline;
  out.start = load_le<uint64_t>(header.data() + 8);
  out.system_id = load_le<uint64_t>(header.data() + 24);
  out.segment_size = load_le<uint32_t>(header.data() + 32);
  out.length = size;
  if (!db::valid_segment_size(out.segment_size) || out.start % out.segment_size != 0)
    return damaged("its first page has impossible values");
  if (size != out.segment_size) return damaged("is not as long as its first page says");
  return out;
}

Result<WalArchive::Stored> store_segment(WalArchive& archive, const Context& ctx, const os::Path& path,
                                         const WalFile& wal) {
  TRY_ASSIGN(const os::File file, os::File::open(path, os::File::Mode::kRead));
  auto stored = WalArchive::Stored::kBefore;
  Buffer bytes;
  for (uint64_t at = 0; at < wal.length; at += bytes.size()) {
    bytes.resize(std::min(kWalPiece, wal.length - at));
    TRY_OK(file.read_exact_at(at, bytes));
    db::PieceIdentity piece;
    piece.system = wal.system_id;
    piece.timeline = wal.timeline;
    piece.start = wal.start + at;
    piece.segment_size = wal.segment_size;
    TRY_ASSIGN(const auto kept, archive.store(ctx, piece, bytes));
    if (kept.stored == WalArchive::Stored::kNow) stored = kept.stored;
  }
  return stored;
}

Result<> check_wal_of(WalArchive archive, const Context& ctx, const db::CaptureData& data) {
  TRY_ASSIGN(const auto pieces,
             archive.pieces(ctx, data.system_id, data.timeline, data.start_lsn, data.stop_lsn));
  const uint64_t end = contiguous_end(pieces, data.start_lsn - 1) + 1;
  if (end >= data.stop_lsn) return {};
  return fail(Code::kIncomplete,
              fmt::format("the WAL from {} on, which the backup needs, is not in the repository",
                          db::format_lsn(end)));
}

namespace {

// Whole or not at all. Not synced: a server that crashes asks for it again.
Result<> put_file(const os::Path& target, ByteView bytes) {
  const os::Path part = target.native() + ".varve";
  TRY_OK(os::remove_file(part).or_else(
      [](const Error& e) -> Result<> { return e.code == Code::kNotFound ? Result<>{} : Result<>(fail(e)); }));
  TRY_ASSIGN(os::File file, os::File::open(part, os::File::Mode::kCreateNew));
  const auto written = file.write_at(0, bytes);
  const auto renamed = written ? os::rename_file(part, target) : written;
  if (!renamed) (void)os::remove_file(part);
  return renamed;
}

}  // namespace

Result<bool> fetch_file(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                        uint64_t system_id, uint32_t segment_size, const std::string& name,
                        const os::Path& target) {
  const auto parsed = db::parse_wal_file_name(name, segment_size);
  if (!parsed) return false;
  WalArchive archive(repo, source);
  if (parsed->kind == db::WalFileName::Kind::kHistory) {
    auto content = archive.history(ctx, system_id, parsed->timeline);
    if (!content && content.error().code == Code::kNotFound) return false;
    if (!content) return fail(content.error());
    TRY_OK(put_file(target, *content));
    return true;
  }
  if (parsed->kind != db::WalFileName::Kind::kSegment) return false;
  Buffer bytes(segment_size);
  TRY_ASSIGN(const uint64_t have, archive.read(ctx, system_id, parsed->timeline, parsed->start, bytes));
  if (have == 0) return false;
  TRY_OK(put_file(target, bytes));
  return true;
}

}  // namespace varve::backup::postgres
