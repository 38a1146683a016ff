// The messages inside the one copy in which servers from 15 on send a base backup.
// Source: PostgreSQL's documentation, "Streaming Replication Protocol", BASE_BACKUP, and
// src/backend/backup/basebackup_copy.c.
#pragma once

#include <string>
#include <variant>

#include "base/bytes.h"

namespace varve::engine::postgres {

struct ArchiveBegin {
  std::string name;      // "base.tar", "16400.tar"
  std::string location;  // of the tablespace; empty: the data directory
};
struct ArchiveData {
  ByteView bytes;  // of the message
};
struct BackupProgress {
  uint64_t bytes = 0;  // handled so far
};
using BackupMessage = std::variant<ArchiveBegin, ArchiveData, BackupProgress>;
// kDamaged: none of these (a manifest is none of them: it is not asked for), or cut short.
Result<BackupMessage> parse_backup_message(ByteView message);

}  // namespace varve::engine::postgres
