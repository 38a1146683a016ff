#include "cli/json.h"

#include <nlohmann/json.hpp>

namespace varve::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string text(const Json& j) {
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json document() {
  return Json{{"format", 1}};
}

std::string document(const char* name, Json content) {
  Json out = document();
  out[name] = std::move(content);
  return text(out);
}

Json time_or_null(const std::optional<Timestamp>& t) {
  return t ? Json(to_rfc3339(*t)) : Json(nullptr);
}

Json text_or_null(const std::string& s) {
  return s.empty() ? Json(nullptr) : Json(s);
}

Json backup(const repo::Manifest& m) {
  return {{"id", m.id},
          {"source", m.source},
          {"engine", m.engine},
          {"type", m.type},
          {"parent", text_or_null(m.parent)},
          {"started_at", to_rfc3339(m.started)},
          {"finished_at", to_rfc3339(m.finished)},
          {"moment", to_rfc3339(m.moment)},
          {"start_position", text_or_null(m.start_position)},
          {"stop_position", text_or_null(m.stop_position)},
          {"size", m.size},
          {"read", m.read},
          {"stored", m.stored},
          {"changed_pages", m.pages_new},
          {"changed_pages_from", text_or_null(m.changed_pages_from)},
          {"files", m.files},
          {"epoch", text_or_null(m.epoch)},
          {"address", m.address},
          {"host", m.host},
          {"database_version", m.database_version},
          {"varve_version", m.varve_version},
          {"warnings", m.warnings}};
}

Json window(const backup::Window& w) {
  const auto position = [&](uint64_t number) {
    return w.epoch.empty() ? Json(nullptr) : Json(backup::position_text(w.epoch, number));
  };
  return {{"from", to_rfc3339(w.from)},        {"to", to_rfc3339(w.to)},
          {"epoch", text_or_null(w.epoch)},    {"first_position", position(w.first)},
          {"last_position", position(w.last)}, {"live", w.live}};
}

Json source(const backup::SourceState& s) {
  Json backups = Json::array(), windows = Json::array(), unreadable = Json::array();
  for (const auto& m : s.backups.manifests) backups.push_back(backup(m));
  for (const auto& w : s.windows) windows.push_back(window(w));
  for (const auto& u : s.backups.unreadable)
    unreadable.push_back({{"object", u.key}, {"message", u.error.describe()}});
  const std::string engine = s.backups.manifests.empty() ? "" : s.backups.manifests.back().engine;
  return {{"name", s.source},
          {"engine", text_or_null(engine)},
          {"backups", std::move(backups)},
          {"windows", std::move(windows)},
          {"held", s.held},
          {"unreadable", std::move(unreadable)}};
}

Json error_object(const Error& e) {
  return {{"code", code_name(e.code)}, {"message", e.describe()}, {"hint", text_or_null(e.hint)}};
}

const char* severity(engine::Problem::Severity s) {
  switch (s) {
    case engine::Problem::Severity::kNote:
      return "note";
    case engine::Problem::Severity::kWarning:
      return "warning";
    case engine::Problem::Severity::kError:
      return "error";
  }
  return "error";
}

Json source_status(const SourceStatus& s) {
  return {{"name", s.name},
          {"engine", text_or_null(s.engine)},
          {"backups", s.backups},
          {"recoverable", s.recoverable},
          {"recoverable_from", time_or_null(s.recoverable_from)},
          {"recoverable_to", time_or_null(s.recoverable_to)},
          {"following", s.following},
          {"size", s.bytes},
          {"restore_seconds", s.restore_time ? Json(s.restore_time->count()) : Json(nullptr)},
          {"restore_rate", s.restore_time ? Json(static_cast<uint64_t>(s.bytes_per_second)) : Json(nullptr)},
          {"restore_rate_from", text_or_null(s.rate_from)},
          {"proven_at", time_or_null(s.proven)},
          {"problems", s.problems}};
}

}  // namespace

std::string json_error(const Error& error) {
  return document("error", error_object(error));
}

std::string json_init(const InitReport& r) {
  return document("init", {{"repository", r.repository},
                           {"id", r.id},
                           {"encryption", r.encryption},
                           {"create_only", r.create_only_honoured},
                           {"kit", text_or_null(r.kit_file)}});
}

std::string json_check(const std::vector<Finding>& findings) {
  Json problems = Json::array();
  for (const auto& f : findings)
    problems.push_back({{"about", f.about},
                        {"severity", severity(f.problem.severity)},
                        {"message", f.problem.what},
                        {"mend", text_or_null(f.problem.mend)}});
  Json out = document();
  out["problems"] = std::move(problems);
  return text(out);
}

std::string json_backup(const repo::Manifest& manifest) {
  return document("backup", backup(manifest));
}

std::string json_list(const std::vector<backup::SourceState>& sources) {
  Json list = Json::array();
  for (const auto& s : sources) list.push_back(source(s));
  return document("sources", std::move(list));
}

std::string json_show(const repo::Manifest& manifest, const std::vector<FileEntry>& files,
                      uint64_t files_left_out) {
  Json b = backup(manifest), list = Json::array();
  for (const auto& f : files) list.push_back({{"path", f.path}, {"type", f.type}, {"size", f.size}});
  b["base"] = text_or_null(manifest.base);
  b["lineage"] = text_or_null(manifest.lineage);
  b["packs"] = manifest.packs.size();
  b["tables"] = manifest.catalogue;
  b["file_list"] = std::move(list);
  b["files_left_out"] = files_left_out;
  return document("backup", std::move(b));
}

std::string json_restore(const backup::RestoreReport& r) {
  return document("restore", {{"source", r.source},
                              {"backup", r.backup},
                              {"target", r.target},
                              {"point", r.point},
                              {"moment", to_rfc3339(r.moment)},
                              {"files", r.files},
                              {"bytes", r.bytes},
                              {"fetched", r.fetched},
                              {"commits", r.commits},
                              {"seconds", r.seconds},
                              {"kept", r.kept},
                              {"notes", r.notes}});
}

std::string json_restore(const backup::TableReport& r) {
  Json tables = Json::array();
  for (const auto& t : r.tables) tables.push_back({{"name", t.name}, {"rows", t.rows}});
  return document("restore", {{"source", r.source},
                              {"backup", r.backup},
                              {"target", r.target},
                              {"point", r.point},
                              {"moment", to_rfc3339(r.moment)},
                              {"tables", std::move(tables)},
                              {"database", text_or_null(r.database)},
                              {"fetched", r.fetched},
                              {"seconds", r.seconds},
                              {"notes", r.notes}});
}

std::string json_restore(const RestorePlan& p) {
  Json estimates = Json::array();
  for (const auto& t : p.estimates)
    estimates.push_back(
        {{"name", t.name}, {"rows", t.rows ? Json(*t.rows) : Json(nullptr)}, {"bytes", t.bytes}});
  return document("restore", {{"dry_run", true},
                              {"source", p.source},
                              {"backup", p.backup},
                              {"type", p.type},
                              {"target", text_or_null(p.target)},
                              {"point", p.point},
                              {"moment", to_rfc3339(p.moment)},
                              {"files", p.files},
                              {"bytes", p.bytes},
                              {"log_pieces", p.pieces},
                              {"log_bytes", p.log_bytes},
                              {"tables", p.tables},
                              {"estimates", std::move(estimates)},
                              {"replay_bytes", p.replay_bytes},
                              {"scratch_bytes", p.scratch_bytes}});
}

std::string json_follow(const backup::FollowStatus& s, const std::string& source, bool finished) {
  Json follow = {{"source", source}};
  if (const std::string_view position = s.position; position.starts_with("lsn:")) {
    follow["lsn"] = position.substr(4);
  } else {
    follow["txn"] = s.txn;
  }
  follow.update(Json{{"covered_until", to_rfc3339(s.covered_until)},
                     {"commits", s.commits},
                     {"pieces", s.pieces},
                     {"bases", s.bases},
                     {"stored", s.bytes},
                     {"message", text_or_null(s.message)},
                     {"finished", finished}});
  return document("follow", std::move(follow));
}

std::string json_push(const std::string& file, const std::string& source, const backup::PushReport& r) {
  return document("push", {{"source", source}, {"file", file}, {"stored", r.stored}, {"ahead", r.ahead}});
}

std::string json_fetch(const std::string& file, const std::string& source, bool there) {
  return document("fetch", {{"source", source}, {"file", file}, {"there", there}});
}

std::string json_history_begin() {
  return "{\"format\":1,\"events\":[";
}

std::string json_event(const engine::Event& e) {
  return text(Json{{"time", to_rfc3339(e.time)},
                   {"position", e.position},
                   {"xid", text_or_null(e.xid)},
                   {"kind", e.kind},
                   {"table", text_or_null(e.table)},
                   {"rows", e.rows ? Json(*e.rows) : Json(nullptr)}});
}

std::string json_history_end() {
  return "]}";
}

std::string json_history_end(const Error& error) {
  return "],\"error\":" + text(error_object(error)) + "}";
}

std::string json_verify(const backup::VerifyReport& r) {
  Json problems = Json::array();
  for (const auto& p : r.problems)
    problems.push_back(
        {{"object", p.object}, {"kind", p.kind}, {"message", p.message}, {"affects", p.affects}});
  Json out = document();
  out.update(Json{{"objects", r.objects},
                  {"bytes", r.bytes},
                  {"problems", std::move(problems)},
                  {"restorable", r.restorable},
                  {"broken", r.broken},
                  {"unreferenced_objects", r.unreferenced_objects},
                  {"unreferenced_bytes", r.unreferenced_bytes}});
  return text(out);
}

std::string json_expire(const std::string& name, const backup::ExpireReport& r) {
  Json backups = Json::array();
  for (const auto& l : r.backups)
    backups.push_back({{"id", l.backup}, {"keep", l.keep}, {"reasons", l.reasons}});
  return document("expire", {{"source", name},
                             {"dry_run", r.dry_run},
                             {"backups", std::move(backups)},
                             {"removed_backups", r.removed_backups},
                             {"removed_pieces", r.removed_pieces},
                             {"removed_bytes", r.removed_bytes}});
}

std::string json_copy(const backup::CopyReport& r) {
  Json problems = Json::array();
  for (const auto& p : r.problems)
    problems.push_back({{"object", p.object},
                        {"kind", p.kind},
                        {"at", p.at},
                        {"message", p.message},
                        {"affects", p.affects}});
  return document("copy", {{"from", r.from},
                           {"to", r.to},
                           {"dry_run", r.dry_run},
                           {"created", r.created},
                           {"objects", r.objects},
                           {"bytes", r.bytes},
                           {"backups", r.backups},
                           {"present", r.present},
                           {"vanished", r.vanished},
                           {"repaired", r.repaired},
                           {"problems", std::move(problems)},
                           {"notes", r.notes},
                           {"seconds", r.seconds}});
}

std::string json_gc(const repo::CollectReport& r, bool dry_run) {
  return document("gc", {{"dry_run", dry_run},
                         {"packs_live", r.packs_live},
                         {"packs_condemned", r.packs_condemned},
                         {"packs_removed", r.packs_removed},
                         {"packs_pardoned", r.packs_pardoned},
                         {"packs_spared", r.packs_spared_for_pins},
                         {"bytes_condemned", r.bytes_condemned},
                         {"bytes_removed", r.bytes_removed},
                         {"objects_removed", r.objects_removed},
                         {"unfinished_removed", r.unfinished_removed},
                         {"stale_pins_removed", r.stale_pins_removed},
                         {"next_due", time_or_null(r.next_due)}});
}

std::string json_status(const RepositoryStatus& status) {
  Json sources = Json::array();
  for (const auto& s : status.sources) sources.push_back(source_status(s));
  return document("status", {{"repository", status.repository},
                             {"encrypted", status.encrypted},
                             {"stored", status.stored},
                             {"sources", std::move(sources)}});
}

std::string json_keys(const std::vector<repo::Repository::KeyInfo>& keys) {
  Json list = Json::array();
  for (const auto& k : keys)
    list.push_back({{"id", k.id},
                    {"kind", k.kind},
                    {"label", text_or_null(k.label)},
                    {"created_at", to_rfc3339(k.created)},
                    {"current", k.current}});
  return document("keys", std::move(list));
}

std::string json_key_change(const char* what, const std::string& id) {
  return document("key", {{"id", id}, {"change", what}});
}

std::string json_kit(const std::string& repository, const std::string& file) {
  return document("kit", {{"repository", repository}, {"file", file}});
}

std::string json_holds(const std::vector<SourceHold>& holds) {
  Json list = Json::array();
  for (const auto& [name, h] : holds)
    list.push_back({{"source", name},
                    {"backup", h.backup},
                    {"reason", text_or_null(h.reason)},
                    {"user", text_or_null(h.user)},
                    {"created_at", to_rfc3339(h.created)}});
  return document("holds", std::move(list));
}

std::string json_hold_change(const char* what, const std::string& name, const std::string& backup_id) {
  return document("hold", {{"source", name}, {"backup", backup_id}, {"change", what}});
}

}  // namespace varve::cli
