#include "engine/postgres/capture_data.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <limits>
#include <map>

#include "engine/postgres/capture_data.pb.h"

namespace varve::engine::postgres {
namespace {

namespace pb = varve::format::postgres;

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDamaged, fmt::format("capture data of a PostgreSQL backup: {}", what));
}

int64_t to_us(Timestamp t) {
  return t.time_since_epoch().count();
}

// Years 1 to 9999: others cannot be written as text.
bool valid_time(int64_t us) {
  return us >= -62'135'596'800'000'000 && us <= 253'402'300'799'999'999;
}

void to_message(const Database& in, pb::Database& out) {
  out.set_oid(in.oid);
  out.set_name(in.name);
  out.set_tablespace(in.tablespace);
  out.set_listed(in.listed);
  std::map<std::string_view, uint32_t> schemas;
  for (const Relation& r : in.relations) {
    const auto [at, added] = schemas.try_emplace(r.schema, static_cast<uint32_t>(schemas.size()));
    if (added) out.add_schemas(r.schema);
    pb::Relation* to = out.add_relations();
    to->set_oid(r.oid);
    to->set_schema(at->second);
    to->set_name(r.name);
    to->set_kind(static_cast<unsigned char>(r.kind));
    to->set_persistence(static_cast<unsigned char>(r.persistence));
    to->set_filenode(r.filenode);
    to->set_tablespace(r.tablespace);
    to->set_toast(r.toast);
    to->set_index_of(r.index_of);
    to->set_pages(r.pages);
    to->set_rows(r.rows);
    to->set_parent(r.parent);
  }
}

bool is_letter(uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

Result<Database> from_message(const pb::Database& in) {
  Database out{.oid = in.oid(),
               .name = in.name(),
               .tablespace = in.tablespace(),
               .listed = in.listed(),
               .relations = {}};
  out.relations.reserve(static_cast<size_t>(in.relations_size()));
  for (const pb::Relation& r : in.relations()) {
    if (r.schema() >= static_cast<uint32_t>(in.schemas_size())) return damaged("a schema that is not listed");
    if (!is_letter(r.kind()) || !is_letter(r.persistence())) return damaged("a relation of an unknown kind");
    if (!out.relations.empty() && r.oid() <= out.relations.back().oid)
      return damaged("relations are not in order");
    out.relations.push_back({.oid = r.oid(),
                             .schema = in.schemas(static_cast<int>(r.schema())),
                             .name = r.name(),
                             .kind = static_cast<char>(r.kind()),
                             .persistence = static_cast<char>(r.persistence()),
                             .filenode = r.filenode(),
                             .tablespace = r.tablespace(),
                             .toast = r.toast(),
                             .index_of = r.index_of(),
                             .pages = r.pages(),
                             .rows = r.rows(),
                             .parent = r.parent()});
  }
  return out;
}

// The many plain fields, both ways.
void identity_to_message(const CaptureData& d, pb::CaptureData& out) {
  out.set_system_id(d.system_id);
  out.set_timeline(d.timeline);
  out.set_stop_timeline(d.stop_timeline);
  out.set_start_lsn(d.start_lsn);
  out.set_stop_lsn(d.stop_lsn);
  out.set_checkpoint_lsn(d.checkpoint_lsn);
  out.set_version(d.version);
  out.set_version_text(d.version_text);
  out.set_control_version(d.control_version);
  out.set_catalog_version(d.catalog_version);
  out.set_page_size(d.page_size);
  out.set_segment_pages(d.segment_pages);
  out.set_wal_segment_size(d.wal_segment_size);
  out.set_wal_page_size(d.wal_page_size);
  out.set_checksums(d.checksums);
  out.set_from_standby(d.from_standby);
  out.set_data_directory(d.data_directory.native());
  out.set_mode(d.mode);
  out.set_uid(d.uid);
  out.set_gid(d.gid);
  out.set_bad_page_count(d.bad_page_count);
  out.set_started_us(to_us(d.started));
  out.set_stopped_us(to_us(d.stopped));
}

void identity_from_message(const pb::CaptureData& in, CaptureData& d) {
  d.system_id = in.system_id();
  d.timeline = in.timeline();
  d.stop_timeline = in.stop_timeline();
  d.start_lsn = in.start_lsn();
  d.stop_lsn = in.stop_lsn();
  d.checkpoint_lsn = in.checkpoint_lsn();
  d.version = in.version();
  d.version_text = in.version_text();
  d.control_version = in.control_version();
  d.catalog_version = in.catalog_version();
  d.page_size = in.page_size();
  d.segment_pages = in.segment_pages();
  d.wal_segment_size = in.wal_segment_size();
  d.wal_page_size = in.wal_page_size();
  d.checksums = in.checksums();
  d.from_standby = in.from_standby();
  d.data_directory = in.data_directory();
  d.mode = in.mode();
  d.uid = in.uid();
  d.gid = in.gid();
  d.bad_page_count = in.bad_page_count();
  d.started = Timestamp(std::chrono::microseconds(in.started_us()));
  d.stopped = Timestamp(std::chrono::microseconds(in.stopped_us()));
}

bool is_power_of_two(uint32_t v, uint32_t least, uint32_t most) {
  return std::has_single_bit(v) && v >= least && v <= most;
}

Result<> check(const CaptureData& d, int64_t started_us, int64_t stopped_us) {
  if (d.system_id == 0 || d.timeline == 0 || d.stop_timeline < d.timeline)
    return damaged("no system or timeline");
  if (d.start_lsn == 0 || d.stop_lsn < d.start_lsn) return damaged("its positions are crossed");
  if (!is_power_of_two(d.page_size, 1024, 32768) || !is_power_of_two(d.wal_page_size, 1024, 65536) ||
      !is_power_of_two(d.wal_segment_size, 1u << 20, 1u << 30) || d.segment_pages == 0)
    return damaged("an impossible size of pages or files");
  if (!valid_time(started_us) || !valid_time(stopped_us)) return damaged("an impossible time");
  return {};
}

}  // namespace

Buffer encode_capture_data(const CaptureData& data) {
  pb::CaptureData out;
  identity_to_message(data, out);
  for (const Tablespace& t : data.tablespaces) {
    pb::Tablespace* to = out.add_tablespaces();
    to->set_oid(t.oid);
    to->set_location(t.location);
    to->set_in_place(t.in_place);
  }
  for (const BadPage& b : data.bad_pages) {
    pb::BadPage* to = out.add_bad_pages();
    to->set_path(b.path);
    to->set_block(b.block);
  }
  for (const ConfigurationFile& c : data.configuration) {
    pb::ConfigurationFile* to = out.add_configuration();
    to->set_path(c.path);
    to->set_kind(c.kind);
    to->set_content(c.content.data(), c.content.size());
  }
  for (const Database& d : data.databases) to_message(d, *out.add_databases());
  Buffer bytes(out.ByteSizeLong());
  out.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes;
}

Result<CaptureData> decode_capture_data(ByteView bytes) {
  pb::CaptureData in;
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return damaged("not readable");
  CaptureData out;
  identity_from_message(in, out);
  TRY_OK(check(out, in.started_us(), in.stopped_us()));
  for (const pb::Tablespace& t : in.tablespaces()) {
    if (t.oid() == 0 || t.in_place() != t.location().empty() ||
        (!out.tablespaces.empty() && t.oid() <= out.tablespaces.back().oid))
      return damaged("an impossible tablespace");
    out.tablespaces.push_back({.oid = t.oid(), .location = t.location(), .in_place = t.in_place()});
  }
  for (const pb::BadPage& b : in.bad_pages()) out.bad_pages.push_back({b.path(), b.block()});
  if (out.bad_page_count < out.bad_pages.size()) return damaged("more bad pages than counted");
  for (const pb::ConfigurationFile& c : in.configuration())
    out.configuration.push_back({c.path(), c.kind(), to_buffer(as_bytes(c.content()))});
  for (const pb::Database& d : in.databases()) {
    TRY_ASSIGN(Database database, from_message(d));
    if (!out.databases.empty() && database.oid <= out.databases.back().oid)
      return damaged("databases are not in order");
    out.databases.push_back(std::move(database));
  }
  return out;
}

std::vector<std::string> user_tables(const std::vector<Database>& databases) {
  std::vector<std::string> out;
  for (const Database& d : databases) {
    for (const Relation& r : d.relations) {
      if (r.kind != 'r' && r.kind != 'p' && r.kind != 'm') continue;
      if (r.schema == "pg_catalog" || r.schema == "information_schema" || r.schema == "pg_toast") continue;
      out.push_back(fmt::format("{}.{}.{}", d.name, r.schema, r.name));
    }
  }
  std::ranges::sort(out);
  return out;
}

}  // namespace varve::engine::postgres
