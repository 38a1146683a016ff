#include "backup/postgres/table_choice.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"

namespace varve::backup::postgres {
namespace {

// FirstNormalObjectId of src/include/access/transam.h: below it is what initdb makes, the system catalogues
// with their TOAST tables and indexes.
constexpr uint32_t kFirstNormal = 16384;
// pg_largeobject and its index (src/include/catalog/pg_largeobject.h): as large as a person's data, and no
// table needs them.
constexpr uint32_t kLargeObjects = 2613, kLargeObjectsIndex = 2683;
constexpr size_t kMostListed = 5;

bool is_catalogue(const db::Relation& r) {
  return r.oid < kFirstNormal && r.oid != kLargeObjects && r.oid != kLargeObjectsIndex;
}
bool is_table(const db::Relation& r) {
  return (r.kind == 'r' || r.kind == 'p' || r.kind == 'm') && r.oid >= kFirstNormal;
}
bool is_template(const std::string& database) {
  return database == "template0" || database == "template1";
}

db::RelFile file_of(const db::Database& d, const db::Relation& r) {
  return {r.tablespace ? r.tablespace : d.tablespace, d.oid, r.filenode};
}

std::string listed(std::vector<std::string> names) {
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), kMostListed); ++i) out += (i ? ", " : "") + names[i];
  if (names.size() > kMostListed) out += ", …";
  return out;
}

Result<> ensure_listed(const db::CaptureData& data) {
  if (!data.databases.empty()) return {};
  return fail(Code::kIncomplete, "the backup has no list of tables",
              "`varve show` tells why; restore the cluster into another folder, and dump the table there");
}

class Chooser {
 public:
  explicit Chooser(const db::CaptureData& data) : data_(data) {}

  Result<TableChoice> choose(const std::vector<std::string>& asked) {
    for (const std::string& text : asked) {
      TRY_ASSIGN(db::TableName name, db::parse_table_name(text));
      TRY_OK(take(std::move(name)));
    }
    if (out_.listed) close();
    return std::move(out_);
  }

 private:
  struct Candidate {
    const db::Database* database;
    const db::Relation* relation;
    std::string text() const {
      return db::TableName{database->name, relation->schema, relation->name}.text();
    }
  };

  std::vector<Candidate> candidates(const db::TableName& name) const {
    std::vector<Candidate> out;
    for (const db::Database& d : data_.databases) {
      if (!name.database.empty() ? d.name != name.database : is_template(d.name)) continue;
      for (const db::Relation& r : d.relations) {
        if (is_table(r) && r.name == name.name && (name.schema.empty() || r.schema == name.schema))
          out.push_back({&d, &r});
      }
    }
    return out;
  }

  Result<> take(db::TableName name) {
    std::vector<Candidate> found = candidates(name);
    if (found.size() > 1) {
      std::vector<std::string> names;
      for (const Candidate& c : found) names.push_back(c.text());
      return fail(Code::kUsage, fmt::format("{}: there are {} of that name", name.text(), found.size()),
                  "say which: " + listed(std::move(names)));
    }
    if (found.empty()) {
      TRY_OK(unlisted(name));
    } else {
      name = {found[0].database->name, found[0].relation->schema, found[0].relation->name};
      out_.relations.insert(found[0].relation->oid);
    }
    if (!out_.tables.empty() && out_.database != name.database)
      return fail(Code::kUsage, "tables of several databases cannot be restored together",
                  "restore them one database at a time");
    if (std::ranges::find(out_.tables, name) != out_.tables.end())
      return fail(Code::kUsage, fmt::format("{} is named twice", name.text()));
    out_.database = name.database;
    const auto at = std::ranges::find(data_.databases, name.database, &db::Database::name);
    out_.listed = at != data_.databases.end() && at->listed ? &*at : nullptr;
    out_.tables.push_back(std::move(name));
    return {};
  }

  // It may have been made after the backup. Then nothing but the name tells where.
  Result<> unlisted(db::TableName& name) const {
    if (name.database.empty()) {
      std::vector<std::string> names;
      for (const db::Database& d : data_.databases)
        if (!is_template(d.name)) names.push_back(d.name);
      if (names.size() != 1) {
        const auto near = nearest_tables(name);
        return fail(Code::kNotFound, fmt::format("the backup knows no table {}", name.text()),
                    (near.empty() ? std::string() : fmt::format("did you mean {}? ", near)) +
                        fmt::format("One made after the backup needs its database: {}.{}",
                                    names.empty() ? "postgres" : names.front(), name.text()));
      }
      name.database = names.front();
    }
    if (name.schema.empty()) name.schema = "public";
    return {};
  }

  std::string nearest_tables(const db::TableName& name) const {
    std::vector<std::string> names;
    for (const std::string& full : db::user_tables(data_.databases)) {
      const size_t parts = name.schema.empty() ? 2 : 1;
      size_t at = 0;
      for (size_t i = 0; i < parts; ++i) at = full.find('.', at) + 1;
      names.push_back(full.substr(at));
    }
    const auto near = nearest(name.schema.empty() ? name.name : name.schema + "." + name.name, names, 1);
    return near.empty() ? "" : near.front();
  }

  // What belongs to the tables: partitions of partitions, then TOAST tables, then the indexes of all.
  void close() {
    auto& oids = out_.relations;
    for (size_t before = 0; before != oids.size();) {
      before = oids.size();
      for (const db::Relation& r : out_.listed->relations)
        if (r.parent && oids.contains(r.parent)) oids.insert(r.oid);
    }
    for (const db::Relation& r : out_.listed->relations)
      if (r.toast && oids.contains(r.oid)) oids.insert(r.toast);
    for (const db::Relation& r : out_.listed->relations)
      if (r.index_of && oids.contains(r.index_of)) oids.insert(r.oid);
  }

  const db::CaptureData& data_;
  TableChoice out_;
};

}  // namespace

Result<TableChoice> choose_tables(const db::CaptureData& data, const std::vector<std::string>& asked) {
  TRY_OK(ensure_listed(data));
  return Chooser(data).choose(asked);
}

Result<TableChoice> choose_database(const db::CaptureData& data, const std::string& name) {
  TRY_OK(ensure_listed(data));
  if (is_template(name))
    return fail(Code::kUsage, fmt::format("{} is a template for databases, and none", name));
  TableChoice out;
  out.database = name;
  out.whole = true;
  const auto at = std::ranges::find(data.databases, name, &db::Database::name);
  if (at != data.databases.end()) {
    out.listed = &*at;
    return out;
  }
  std::vector<std::string> names;
  for (const db::Database& d : data.databases)
    if (!is_template(d.name)) names.push_back(d.name);
  const auto near = nearest(name, names, 1);
  log::warn("the backup knows no database {}{}: it may have been made later, so everything is fetched",
            printable(name), near.empty() ? "" : fmt::format(" (did you mean {}?)", printable(near.front())));
  return out;
}

WantedFiles::WantedFiles(const TableChoice& choice) : everything_(choice.listed == nullptr) {
  if (everything_) return;
  if (choice.whole) {
    whole_ = choice.listed->oid;
    return;
  }
  for (const db::Relation& r : choice.listed->relations) {
    // Sequences are a page each; which of them belong to a table the backup does not say.
    if (r.filenode && (is_catalogue(r) || r.kind == 'S' || choice.relations.contains(r.oid)))
      files_.insert(file_of(*choice.listed, r));
  }
}

bool WantedFiles::operator()(const std::string& path) {
  if (everything_) return true;
  const auto file = db::relation_file(path);
  if (!file) return !path.starts_with("log/") && !path.starts_with("pg_log/");
  if (file->database == 0 || file->database == whole_) return true;
  const db::RelFile key{file->tablespace, file->database, file->filenode};
  if (files_.contains(key)) return true;
  left_out_.insert(key);
  return false;
}

std::vector<ChosenTable> describe(const db::CaptureData& data, const TableChoice& choice) {
  std::vector<ChosenTable> out;
  for (const db::TableName& name : choice.tables) {
    ChosenTable table{.name = name.text(), .listed = false, .rows = 0, .files = {}};
    const auto one = Chooser(data).choose({name.text()});
    if (one && one->listed) {
      for (const db::Relation& r : one->listed->relations) {
        if (!one->relations.contains(r.oid)) continue;
        table.listed = true;
        if (r.kind == 'r') table.rows += r.rows;
        if (r.filenode) table.files.insert(file_of(*one->listed, r));
      }
    }
    out.push_back(std::move(table));
  }
  return out;
}

}  // namespace varve::backup::postgres
