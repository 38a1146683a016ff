// WAL segments as files: on their way into the repository, and out of it.
#pragma once

#include <optional>
#include <string>

#include "backup/postgres/wal_archive.h"
#include "engine/postgres/capture_data.h"
#include "os/file.h"

namespace varve::backup::postgres {

// What a file of WAL holds.
struct WalFile {
  uint64_t system_id = 0;
  db::Timeline timeline = 0;
  uint32_t segment_size = 0;
  uint64_t start = 0;   // LSN of its first byte
  uint64_t length = 0;  // bytes of it that count
};

// What its first page says; kDamaged when it begins with none, or is shorter than it says.
Result<WalFile> identify_segment(const os::Path& path, db::Timeline timeline);

// In pieces of at most 16 MiB, side by side. As WalArchive::store.
Result<WalArchive::Stored> store_segment(WalArchive& archive, const Context& ctx, const os::Path& path,
                                         const WalFile& file);

// kIncomplete unless the WAL that a backup needs is there. What a restore will need must be seen, not
// believed.
Result<> check_wal_of(WalArchive archive, const Context& ctx, const db::CaptureData& data);

// A file of the archive under the name that PostgreSQL asks for, put at `target` whole or not at all. False:
// there is none. What is known of a segment only in part is filled up with zeros: recovery ends there.
Result<bool> fetch_file(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                        uint64_t system_id, uint32_t segment_size, const std::string& name,
                        const os::Path& target);

}  // namespace varve::backup::postgres
