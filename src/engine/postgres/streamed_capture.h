// A consistent capture of a running cluster without access to its files: the server sends them (BASE_BACKUP),
// and then the WAL that makes them one state. What is read is the same, and as consistent, as in capture.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/postgres/capture.h"
#include "engine/postgres/stream.h"

namespace varve::engine::postgres {

// stream() gives the files. Positions, late files and lineage are as of a ClusterCapture. finish() knows
// nothing of pages yet: settle_pages() does, and engine_data() is complete after it.
// Destroying it ends the session: the server leaves backup mode and drops the temporary slot.
class StreamedCapture : public Capture {
 public:
  virtual const CaptureData& data() const = 0;

  // After finish(). The history file of the capture's timeline; kNotFound when the server has none.
  virtual Result<Buffer> history(const Context& ctx) = 0;
  // Once, and ends what history() needs: the WAL of the capture's timeline from the begin of the segment that
  // holds its start. A temporary slot keeps it at the server since before the start.
  virtual Result<std::unique_ptr<WalStream>> wal(const Context& ctx) = 0;

  // Pages whose checksum is wrong, but for those that `logged` says the WAL from start to stop holds whole:
  // one that was torn by a write under way looks alike, and cannot be read again. The warnings that result.
  using Logged = std::function<bool(const BadPage&)>;
  virtual std::vector<std::string> settle_pages(const Logged& logged) = 0;
  virtual bool has_bad_pages() const = 0;
  virtual Buffer engine_data() const = 0;
};

// Waits for the checkpoint that a backup begins with. kDatabase when the server refuses, with the mend.
Result<std::unique_ptr<StreamedCapture>> begin_streamed_capture(const Context& ctx, const ClusterSpec& spec,
                                                                const CaptureOptions& options);

}  // namespace varve::engine::postgres
