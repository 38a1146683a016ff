// A consistent capture of a running cluster: PostgreSQL's low-level backup, its files read through the file
// system. What is read is consistent only after recovery from start_lsn() to stop_lsn(): whoever keeps the
// capture keeps that WAL too.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "engine/postgres/capture_data.h"
#include "engine/postgres/control_file.h"
#include "engine/postgres/source.h"

namespace varve::engine::postgres {

struct CaptureOptions {
  bool fast_checkpoint =
      true;  // false: the checkpoint is spread (checkpoint_completion_target), and waited for
  bool verify_checksums = true;  // where the cluster has them
  std::string label = "varve";   // for backup_label; line breaks become spaces
};

// CaptureInfo: lineage is the system identifier in decimal, start_position "lsn:X/Y", moment that of the
// start. CaptureEnd: stop_position "lsn:X/Y", moment that of the stop (the state is consistent from there
// on), engine_data an encoded CaptureData, late_files backup_label, global/pg_control and, with tablespaces,
// tablespace_map. Damaged pages are warnings.
//
// open() is thread-safe and gives null for a file that vanished and that the log makes anew.
// Destroying it before finish() ends the session: the server leaves backup mode.
class ClusterCapture : public Capture {
 public:
  virtual uint64_t start_lsn() const = 0;          // the first byte of WAL that recovery reads
  virtual uint32_t timeline() const = 0;           // at the start
  virtual const ControlFile& control() const = 0;  // as it was just after the start
  virtual const os::Path& data_directory() const = 0;
  virtual os::Path wal_directory() const = 0;  // pg_wal, links resolved

  // After finish().
  virtual uint64_t stop_lsn() const = 0;  // the byte after the last that recovery must read
  virtual const CaptureData& data() const = 0;
  // Whether a slot of this capture still keeps the WAL from start_lsn() on. Without one (none was free, or
  // the server dropped it: max_slot_wal_keep_size) segments can be removed at any checkpoint: look whether
  // all came.
  virtual Result<bool> keeps_wal(const Context& ctx) = 0;
  // Ends the session and with it the slot: once the WAL has been copied.
  virtual void release() = 0;
};

// Waits for the checkpoint that a backup begins with. kUsage when the data directory is not the server's,
// kDatabase when the server refuses, kDenied when its files may not be read.
Result<std::unique_ptr<ClusterCapture>> begin_capture(const Context& ctx, const ClusterSpec& spec,
                                                      const CaptureOptions& options);

}  // namespace varve::engine::postgres
