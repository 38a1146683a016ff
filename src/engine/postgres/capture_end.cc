#include "engine/postgres/capture_end.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/postgres/catalogue.h"
#include "engine/postgres/lsn.h"

namespace varve::engine::postgres {
namespace {

constexpr uint32_t kLateFileMode = 0600;
constexpr int kNamedBadPages = 5;  // in warnings

// " (db.schema.table)", where the catalogue knows.
std::string name_of(const CaptureData& data, const std::string& path) {
  const auto file = relation_file(path);
  if (!file) return "";
  for (const Database& d : data.databases) {
    if (file->database != 0 && d.oid != file->database) continue;
    for (const Relation& r : d.relations) {
      const uint32_t tablespace = r.tablespace != 0 ? r.tablespace : d.tablespace;
      if (r.filenode == file->filenode && tablespace == file->tablespace)
        return printable(fmt::format(" ({}.{}.{})", d.name, r.schema, r.name));
    }
  }
  return "";
}

LateFile late_file(const CaptureData& data, std::string path, Buffer content) {
  LateFile out;
  out.spec.path = std::move(path);
  out.spec.size = content.size();
  out.spec.page_size = data.page_size;
  out.spec.mode = kLateFileMode;
  out.spec.uid = data.uid;
  out.spec.gid = data.gid;
  out.spec.mtime_us = data.stopped.time_since_epoch().count();
  out.content = std::move(content);
  return out;
}

}  // namespace

std::string position_text(uint64_t lsn) {
  return "lsn:" + format_lsn(lsn);
}

std::string label_line(std::string label) {
  std::ranges::replace_if(
      label, [](unsigned char c) { return c < ' '; }, ' ');
  return label;
}

// A session of its own: an error in the backup's would drop its slot.
Result<> describe_cluster(const Context& ctx, const ClusterSpec& spec, CaptureData& data,
                          std::vector<std::string>& warnings) {
  auto session = Connection::open(ctx, spec);
  TRY_OK(ctx.check());
  if (!session) {
    warnings.push_back(fmt::format("the backup has no list of tables: {}", session.error().describe()));
    return {};
  }
  auto catalogue = read_catalogue(ctx, spec, **session);
  TRY_OK(ctx.check());
  if (catalogue) {
    data.databases = std::move(catalogue->databases);
    warnings.insert(warnings.end(), catalogue->warnings.begin(), catalogue->warnings.end());
  } else {
    warnings.push_back(fmt::format("the backup has no list of tables: {}", catalogue.error().describe()));
  }
  auto configuration = read_configuration(ctx, **session, spec.access, data.data_directory, warnings);
  TRY_OK(ctx.check());
  if (configuration)
    data.configuration = std::move(*configuration);
  else
    warnings.push_back(
        fmt::format("the server's configuration is not in the backup: {}", configuration.error().describe()));
  return {};
}

void settle_pages(PageFindings::Settled found, CaptureData& data, std::vector<std::string>& warnings) {
  data.bad_pages = std::move(found.pages);
  data.bad_page_count = found.count;
  for (size_t i = 0; i < std::min<size_t>(kNamedBadPages, data.bad_pages.size()); ++i) {
    const BadPage& page = data.bad_pages[i];
    warnings.push_back(fmt::format("damaged in the database itself: block {} of {}{} has a wrong checksum",
                                   page.block, printable(page.path), name_of(data, page.path)));
  }
  if (data.bad_page_count > kNamedBadPages)
    warnings.push_back(
        fmt::format("{} more pages have wrong checksums", data.bad_page_count - kNamedBadPages));
}

CaptureEnd capture_end(const CaptureData& data, LateContents contents) {
  CaptureEnd end;
  end.stop_position = position_text(data.stop_lsn);
  end.moment = data.stopped;
  end.late_files.push_back(late_file(data, "backup_label", std::move(contents.label)));
  end.late_files.push_back(late_file(data, std::string(kControlPath), std::move(contents.control)));
  if (!contents.tablespace_map.empty())
    end.late_files.push_back(late_file(data, "tablespace_map", std::move(contents.tablespace_map)));
  end.tables = user_tables(data.databases);
  end.engine_data = encode_capture_data(data);
  return end;
}

}  // namespace varve::engine::postgres
