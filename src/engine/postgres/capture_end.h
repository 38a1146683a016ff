// What the captures of a cluster have in common, however its files come.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/postgres/capture_data.h"
#include "engine/postgres/file_reader.h"
#include "engine/postgres/source.h"

namespace varve::engine::postgres {

std::string position_text(uint64_t lsn);    // "lsn:16/B374D848"
std::string label_line(std::string label);  // of one line

// Reads the catalogue and the configuration files outside of the data directory, by a session of its own.
// What cannot be had is a warning: the backup is whole without it.
Result<> describe_cluster(const Context& ctx, const ClusterSpec& spec, CaptureData& data,
                          std::vector<std::string>& warnings);

// Into the data, and some by name into the warnings. The catalogue must be there.
void settle_pages(PageFindings::Settled found, CaptureData& data, std::vector<std::string>& warnings);

struct LateContents {
  Buffer label, tablespace_map /* empty: no such file */, control;
};
// From all that is known at the stop; without warnings.
CaptureEnd capture_end(const CaptureData& data, LateContents contents);

}  // namespace varve::engine::postgres
