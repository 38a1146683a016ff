#include "engine/postgres/table_dump.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

// Bounds a wait for a lock that nobody should hold.
constexpr std::string_view kLockWait = "60000";  // ms

// What a program said last, on one line.
std::string words_of(const os::ProcessResult& result) {
  std::string out;
  for (const std::string_view line : split(trim(result.err), '\n')) {
    if (trim(line).empty()) continue;
    if (!out.empty()) out += " | ";
    out += printable(trim(line));
  }
  return out.empty() ? fmt::format("exit {}", result.exit_code) : out;
}

std::string missing_library(const std::string& words) {
  if (words.find("could not access file") == std::string::npos &&
      words.find("could not load library") == std::string::npos)
    return {};
  return "an extension's library is not on this host: install its package here too";
}

}  // namespace

Result<> dump_tables(const Context& ctx, const Binaries& binaries, const RecoveredDatabase& from,
                     const os::Path& file, const DumpOptions& options) {
  std::vector<std::string> argv = {(binaries.folder / "pg_dump").native(),
                                   "--dbname=" + from.spec().connection,
                                   "--file=" + file.native(),
                                   options.plain ? "--format=plain" : "--format=custom",
                                   "--no-password",
                                   fmt::format("--lock-wait-timeout={}", kLockWait),
                                   "--no-publications",
                                   "--no-unlogged-table-data"};
  if (!options.owner) argv.push_back("--no-owner");
  if (!options.privileges) argv.push_back("--no-privileges");
  if (!options.tablespaces) argv.push_back("--no-tablespaces");
  // Within double quotes no letter of a pattern has a meaning of its own.
  for (const Member& m : from.members())
    if (m.is_table()) argv.push_back("--table=" + quote_table(m.schema, m.name));
  TRY_ASSIGN(const auto done, os::run(ctx, argv));
  if (done.exit_code != 0) {
    const std::string words = words_of(done);
    return fail(Code::kDatabase, fmt::format("pg_dump: {}", words), missing_library(words));
  }
  return {};
}

Result<> rename_table(const Context& ctx, RecoveredDatabase& from, const std::string& as,
                      const std::function<Result<std::vector<std::string>>(const std::string&)>& taken) {
  const std::string old = from.tables().front().name;
  std::map<std::string, std::set<std::string>> used;  // by schema
  std::vector<std::pair<uint32_t, std::string>> to;
  const auto use = [&](const std::string& schema) -> Result<std::set<std::string>*> {
    auto at = used.find(schema);
    if (at != used.end()) return &at->second;
    TRY_ASSIGN(const auto there, taken(schema));
    TRY_ASSIGN(const auto here, from.names_in(ctx, schema));
    auto& names = used[schema];
    names.insert(there.begin(), there.end());
    names.insert(here.begin(), here.end());
    return &names;
  };
  for (const Member& m : from.members()) {
    if (m.is_internal()) continue;
    TRY_ASSIGN(std::set<std::string> * names, use(m.schema));
    std::string name = as;
    if (m.oid != from.tables().front().oid) {
      const std::string wanted = m.name.starts_with(old) ? as + m.name.substr(old.size()) : as + "_" + m.name;
      name = fitting_name(wanted, "");
      for (int i = 1; names->contains(name); ++i) name = fitting_name(wanted, fmt::format("_{}", i));
    }
    names->insert(name);
    to.emplace_back(m.oid, name);
  }
  return from.rename(ctx, to);
}

// --- into a living database -----------------------------------------------------------------------------

Result<LoadTarget> LoadTarget::open(const Context& ctx, const LoadOptions& options,
                                    const std::string& source_database) {
  LoadTarget out;
  out.options_ = options;
  out.database_ = database_of(options.into);
  if (out.database_.empty()) {
    out.database_ = source_database;
    TRY_ASSIGN(out.options_.into, make_source(fmt::format("{} dbname='{}'", options.into.connection, [&] {
                                                std::string quoted;
                                                for (char c : source_database) {
                                                  if (c == '\'' || c == '\\') quoted += '\\';
                                                  quoted += c;
                                                }
                                                return quoted;
                                              }()),
                                              {}));
  }
  SessionOptions session;
  session.database = out.database_;
  TRY_ASSIGN(out.session_, Connection::open(ctx, out.options_.into, session));
  return out;
}

std::string LoadTarget::text() const {
  return options_.into.connection;
}

Result<> LoadTarget::ensure_free(const Context& ctx, const std::string& schema, const std::string& name) {
  TRY_ASSIGN(const Rows rows, session_->query(ctx,
                                              "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
                                              " ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
                                              {schema, name}));
  if (rows.size() == 0) return {};
  return fail(Code::kConflict,
              fmt::format("the database {} has {} already, and nothing is ever replaced", printable(database_),
                          printable(TableName{"", schema, name}.text())),
              fmt::format("give the restored one a name of its own: --as {}",
                          fitting_name(options_.as.empty() ? name : options_.as, "_restored")));
}

// One load: what does not fit the destination is found out and taken off, then everything is done at once.
class LoadTarget::Work {
 public:
  Work(const Context& ctx, const Binaries& binaries, LoadTarget& to, RecoveredDatabase& from)
      : ctx_(ctx), binaries_(binaries), to_(to), from_(from), here_(*to.session_), there_(from.session()) {}

  Result<Loaded> run() {
    TRY_OK(names());
    TRY_OK(extensions());
    TRY_OK(schemas());
    TRY_OK(types());
    TRY_OK(roles());
    TRY_OK(triggers());
    TRY_OK(tablespaces());
    TRY_OK(others_keys());
    TRY_ASSIGN(keys_, from_.take_foreign_keys(ctx_));
    const os::Path dump = folder() / "tables.sql", end = folder() / "end.sql", begin = folder() / "begin.sql";
    TRY_OK(dump_tables(ctx_, binaries_, from_, dump, dump_));
    TRY_OK(os::replace_file(begin, as_bytes(begin_)));
    TRY_OK(os::replace_file(end, as_bytes(closing())));
    TRY_OK(psql({begin, dump, end}));
    TRY_OK(look_for_keys());
    return std::move(out_);
  }

 private:
  const os::Path& folder() const { return to_.options_.work_folder; }
  void note(std::string text) { out_.notes.push_back(std::move(text)); }

  Result<std::vector<std::string>> column(Connection& session, const std::string& sql,
                                          const Connection::Parameters& parameters = {}) {
    TRY_ASSIGN(const Rows rows, session.query(ctx_, sql, parameters));
    std::vector<std::string> out;
    for (size_t i = 0; i < rows.size(); ++i) out.emplace_back(rows.text(i, 0));
    return out;
  }
  Result<std::set<std::string>> set_here(const std::string& sql) {
    TRY_ASSIGN(const auto names, column(here_, sql));
    return std::set<std::string>(names.begin(), names.end());
  }

  // A schema's tables, indexes and sequences share one row of names.
  Result<> names() {
    const auto taken = [&](const std::string& schema) {
      return column(here_,
                    "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
                    " ON n.oid = c.relnamespace WHERE n.nspname = $1",
                    {schema});
    };
    if (!to_.options_.as.empty()) {
      TRY_OK(to_.ensure_free(ctx_, from_.tables().front().schema, to_.options_.as));
      return rename_table(ctx_, from_, to_.options_.as, taken);
    }
    std::map<std::string, std::set<std::string>> used;
    std::vector<std::pair<uint32_t, std::string>> to;
    for (const Member& m : from_.members()) {
      if (m.is_internal()) continue;
      if (m.is_table()) TRY_OK(to_.ensure_free(ctx_, m.schema, m.name));
      auto at = used.find(m.schema);
      if (at == used.end()) {
        TRY_ASSIGN(const auto there, taken(m.schema));
        at = used.emplace(m.schema, std::set<std::string>(there.begin(), there.end())).first;
        TRY_ASSIGN(const auto own, from_.names_in(ctx_, m.schema));
        ours_[m.schema] = std::set<std::string>(own.begin(), own.end());
      }
      if (!at->second.contains(m.name)) continue;
      std::string name = fitting_name(m.name, "_restored");
      for (int i = 1; at->second.contains(name) || ours_[m.schema].contains(name); ++i)
        name = fitting_name(m.name, fmt::format("_restored_{}", i));
      at->second.insert(name);
      to.emplace_back(m.oid, name);
      note(fmt::format("{} is called {} here, for its name is taken", printable(m.name), printable(name)));
    }
    return from_.rename(ctx_, to);
  }

  // The types of the columns, with what those are made of.
  std::string type_closure() const {
    return fmt::format(
        "t(oid) AS (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ({})"
        " AND a.attnum > 0 AND NOT a.attisdropped"
        " UNION SELECT x.oid FROM t JOIN pg_catalog.pg_type y ON y.oid = t.oid CROSS JOIN LATERAL ("
        " SELECT y.typelem AS oid WHERE y.typelem <> 0"
        " UNION ALL SELECT y.typbasetype WHERE y.typbasetype <> 0"
        " UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = y.typrelid"
        " AND y.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped"
        " UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = y.oid) x)",
        from_.oids(true));
  }

  Result<> extensions() {
    const std::string sql = fmt::format(
        "WITH RECURSIVE {0}, o(classid, objid) AS ("
        " SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, pg_catalog.unnest({1})"
        " UNION SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, oid FROM pg_catalog.pg_attrdef"
        " WHERE adrelid = ANY ({1})"
        " UNION SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid FROM pg_catalog.pg_constraint"
        " WHERE conrelid = ANY ({1})"
        " UNION SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid FROM t),"
        " d(classid, objid) AS (SELECT classid, objid FROM o UNION SELECT p.refclassid, p.refobjid FROM o JOIN"
        " pg_catalog.pg_depend p ON p.classid = o.classid AND p.objid = o.objid)"
        " SELECT DISTINCT e.extname FROM d JOIN pg_catalog.pg_depend x ON x.classid = d.classid"
        " AND x.objid = d.objid AND x.deptype = 'e' AND"
        " x.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"
        " JOIN pg_catalog.pg_extension e ON e.oid = x.refobjid ORDER BY 1",
        type_closure(), from_.oids(false));
    TRY_ASSIGN(const auto needed, column(there_, sql));
    TRY_ASSIGN(const auto present, set_here("SELECT extname FROM pg_catalog.pg_extension"));
    for (const std::string& name : needed) {
      if (present.contains(name)) continue;
      return fail(Code::kDatabase,
                  fmt::format("the table needs the extension {}, which the database {} lacks", printable(name),
                              printable(to_.database_)),
                  fmt::format("there: CREATE EXTENSION {}", quote_identifier(name)));
    }
    return {};
  }

  Result<> schemas() {
    TRY_ASSIGN(const auto present, set_here("SELECT nspname FROM pg_catalog.pg_namespace"));
    std::set<std::string> made;
    for (const Member& m : from_.members()) {
      if (m.is_internal() || present.contains(m.schema) || !made.insert(m.schema).second) continue;
      begin_ += fmt::format("CREATE SCHEMA {};\n", quote_identifier(m.schema));
      note(fmt::format("the schema {} was made", printable(m.schema)));
    }
    return {};
  }

  // Those that the destination lost are made as they were.
  Result<> types() {
    TRY_ASSIGN(const Rows rows,
               there_.query(ctx_, fmt::format("WITH RECURSIVE {} SELECT t.oid, n.nspname, y.typname, y.typtype,"
                                              " coalesce(c.relkind, 'c') FROM t"
                                              " JOIN pg_catalog.pg_type y ON y.oid = t.oid"
                                              " JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace"
                                              " LEFT JOIN pg_catalog.pg_class c ON c.oid = y.typrelid"
                                              " WHERE t.oid >= 16384 AND NOT (y.typelem <> 0 AND y.typlen = -1)"
                                              " AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE"
                                              " d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass"
                                              " AND d.objid = t.oid AND d.deptype = 'e') ORDER BY t.oid",
                                              type_closure())));
    std::set<std::string> oids;
    std::string names;
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string name = quote_table(rows.text(i, 1), rows.text(i, 2));
      TRY_ASSIGN(const Rows there, here_.query(ctx_, "SELECT pg_catalog.to_regtype($1) IS NOT NULL", {name}));
      if (there.boolean(0, 0)) continue;
      if (rows.text(i, 3) == "c" && rows.text(i, 4) != "c")
        return fail(Code::kDatabase,
                    fmt::format("the table has a column of the row type of {}, which the database {} lacks",
                                printable(name), printable(to_.database_)),
                    "restore that table first");
      oids.emplace(rows.text(i, 0));
      names += (names.empty() ? "" : ", ") + name;
    }
    if (oids.empty()) return {};
    note(fmt::format("types that were not there were made as they were then: {}", printable(names)));
    return type_script(oids);
  }

  // A dump of all definitions, of which only those types are taken: pg_dump has no switch for types. An entry
  // of its list begins "<number>; <catalogue> <oid> <kind> …".
  Result<> type_script(const std::set<std::string>& oids) {
    const os::Path archive = folder() / "definitions.dump", chosen = folder() / "types.list",
                   script = folder() / "types.sql";
    TRY_OK(run({"pg_dump", "--dbname=" + from_.spec().connection, "--file=" + archive.native(),
                "--format=custom", "--schema-only", "--no-owner", "--no-privileges", "--no-password"}));
    TRY_ASSIGN(const auto listed, run({"pg_restore", "--list", archive.native()}));
    constexpr std::string_view kTypes = "1247";  // pg_type's own oid
    std::string list;
    for (const std::string_view line : split(as_text(listed.out), '\n')) {
      const auto words = split(line, ' ');
      if (words.size() > 3 && words[1] == kTypes && oids.contains(std::string(words[2])))
        list += std::string(line) + "\n";
    }
    TRY_OK(os::replace_file(chosen, as_bytes(list)));
    TRY_OK(run({"pg_restore", "--use-list=" + chosen.native(), "--file=" + script.native(), "--no-owner",
                archive.native()}));
    begin_ += fmt::format("\\i {}\n", quote_literal(script.native()));
    return {};
  }

  // Owners, and to whom something was granted. A role that is not there cannot have anything.
  Result<> roles() {
    TRY_ASSIGN(const auto present, set_here("SELECT rolname FROM pg_catalog.pg_roles"));
    TRY_ASSIGN(const auto super,
               column(here_, "SELECT rolsuper::text FROM pg_catalog.pg_roles WHERE rolname = current_user"));
    const std::string user = here_.user();
    const std::string of_members = fmt::format("c.oid = ANY ({}) AND c.relkind <> 't'", from_.oids(false));
    TRY_ASSIGN(const auto owners, column(there_, "SELECT DISTINCT pg_catalog.pg_get_userbyid(c.relowner) FROM"
                                                 " pg_catalog.pg_class c WHERE " +
                                                     of_members));
    const bool is_super = !super.empty() && super[0] == "true";
    for (const std::string& owner : owners) {
      if (owner == user || (is_super && present.contains(owner))) continue;
      dump_.owner = false;
      note(fmt::format("the owner is {}, not {}: {}", printable(user), printable(owner),
                       present.contains(owner) ? "only a superuser may give tables away" : "there is no such role"));
    }
    TRY_OK(privileges(present, of_members));
    return policies(present);
  }

  Result<> privileges(const std::set<std::string>& present, const std::string& of_members) {
    const std::string acl = "pg_catalog.aclexplode";
    TRY_ASSIGN(const Rows rows,
               there_.query(ctx_, fmt::format("SELECT DISTINCT n.nspname, c.relname, c.relkind = 'S',"
                                              " pg_catalog.pg_get_userbyid(g.grantee) FROM pg_catalog.pg_class c"
                                              " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                              " CROSS JOIN LATERAL (SELECT grantee FROM {0}(c.relacl)"
                                              " UNION SELECT x.grantee FROM pg_catalog.pg_attribute a,"
                                              " {0}(a.attacl) x WHERE a.attrelid = c.oid) g"
                                              " WHERE {1} AND g.grantee <> 0",
                                              acl, of_members)));
    std::set<std::string> missing;
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string role(rows.text(i, 3));
      if (present.contains(role)) continue;
      missing.insert(role);
      TRY_OK(there_.query(ctx_, fmt::format("REVOKE ALL ON {} {} FROM {} CASCADE",
                                            rows.boolean(i, 2) ? "SEQUENCE" : "TABLE",
                                            quote_table(rows.text(i, 0), rows.text(i, 1)),
                                            quote_identifier(role))));
    }
    for (const std::string& role : missing)
      note(fmt::format("what was granted to {} was left out: there is no such role", printable(role)));
    return {};
  }

  Result<> policies(const std::set<std::string>& present) {
    TRY_ASSIGN(const Rows rows,
               there_.query(ctx_, fmt::format("SELECT n.nspname, c.relname, p.polname,"
                                              " pg_catalog.pg_get_userbyid(r.role)"
                                              " FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c"
                                              " ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n"
                                              " ON n.oid = c.relnamespace"
                                              " CROSS JOIN LATERAL pg_catalog.unnest(p.polroles) AS r(role)"
                                              " WHERE p.polrelid = ANY ({}) AND r.role <> 0",
                                              from_.oids(true))));
    std::set<std::string> gone;
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string table = quote_table(rows.text(i, 0), rows.text(i, 1)),
                        policy = quote_identifier(rows.text(i, 2));
      if (present.contains(std::string(rows.text(i, 3))) || !gone.insert(table + policy).second) continue;
      TRY_OK(there_.query(ctx_, fmt::format("DROP POLICY {} ON {}", policy, table)));
      note(fmt::format("the policy {} on {} was left out: there is no role {}", printable(rows.text(i, 2)),
                       printable(rows.text(i, 1)), printable(rows.text(i, 3))));
    }
    return {};
  }

  // Those whose function the destination lacks.
  Result<> triggers() {
    TRY_ASSIGN(const Rows rows,
               there_.query(ctx_, fmt::format("SELECT n.nspname, c.relname, t.tgname, f.nspname, p.proname"
                                              " FROM pg_catalog.pg_trigger t"
                                              " JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
                                              " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                              " JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
                                              " JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace"
                                              " WHERE NOT t.tgisinternal AND t.tgrelid = ANY ({}){}",
                                              from_.oids(true),
                                              there_.major() >= 13 ? " AND t.tgparentid = 0" : "")));
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string function = quote_table(rows.text(i, 3), rows.text(i, 4));
      TRY_ASSIGN(const Rows there,
                 here_.query(ctx_, "SELECT pg_catalog.to_regprocedure($1) IS NOT NULL", {function + "()"}));
      if (there.boolean(0, 0)) continue;
      TRY_OK(there_.query(ctx_, fmt::format("DROP TRIGGER {} ON {}", quote_identifier(rows.text(i, 2)),
                                            quote_table(rows.text(i, 0), rows.text(i, 1)))));
      note(fmt::format("the trigger {} was left out: there is no function {}", printable(rows.text(i, 2)),
                       printable(function)));
    }
    return {};
  }

  Result<> tablespaces() {
    TRY_ASSIGN(const auto needed, column(there_, fmt::format("SELECT DISTINCT s.spcname FROM pg_catalog.pg_class c"
                                                             " JOIN pg_catalog.pg_tablespace s"
                                                             " ON s.oid = c.reltablespace WHERE c.oid = ANY ({})",
                                                             from_.oids(false))));
    TRY_ASSIGN(const auto present, set_here("SELECT spcname FROM pg_catalog.pg_tablespace"));
    for (const std::string& name : needed) {
      if (present.contains(name)) continue;
      dump_.tablespaces = false;
      note(fmt::format("it is in the database's own tablespace: there is none called {}", printable(name)));
    }
    return {};
  }

  // Keys of other tables that refer to these.
  Result<> others_keys() {
    TRY_ASSIGN(const Rows rows,
               there_.query(ctx_, fmt::format("SELECT k.conname, n.nspname || '.' || c.relname"
                                              " FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c"
                                              " ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n"
                                              " ON n.oid = c.relnamespace WHERE k.contype = 'f'"
                                              " AND k.conparentid = 0 AND k.confrelid = ANY ({0})"
                                              " AND NOT k.conrelid = ANY ({0}) ORDER BY 1",
                                              from_.oids(true))));
    for (size_t i = 0; i < rows.size(); ++i)
      note(fmt::format("the foreign key {} of {} belongs to that table and was not made",
                       printable(rows.text(i, 0)), printable(rows.text(i, 1))));
    return {};
  }

  // A tag for dollar quotes that the text does not hold.
  static std::string tag_for(const std::string& text) {
    std::string tag = "$varve$";
    for (int i = 1; text.find(tag) != std::string::npos; ++i) tag = fmt::format("$varve{}$", i);
    return tag;
  }
  static std::string block(const std::string& body) {
    const std::string tag = tag_for(body);
    return fmt::format("DO {0}{1}{0};\n", tag, body);
  }

  // After the tables: foreign keys, each for itself, for what they refer to may be gone, or locked by others;
  // then the rows are counted.
  std::string closing() const {
    std::string out;
    for (const ForeignKey& k : keys_) {
      const std::string table = quote_table(k.schema, k.table), name = quote_identifier(k.name);
      std::string body = fmt::format("BEGIN SET LOCAL lock_timeout = '10s'; ALTER TABLE {} ADD CONSTRAINT {} {};",
                                     table, name, k.definition);
      if (!k.comment.empty())
        body += fmt::format(" COMMENT ON CONSTRAINT {} ON {} IS {};", name, table, quote_literal(k.comment));
      out += block(body + " EXCEPTION WHEN OTHERS THEN NULL; END");
    }
    for (const TakenTable& t : from_.tables())
      out += block(fmt::format("DECLARE n pg_catalog.int8; BEGIN SELECT pg_catalog.count(*) INTO n FROM {0}{1};"
                               " IF n <> {2} THEN RAISE EXCEPTION 'varve: % rows arrived instead of {2}', n;"
                               " END IF; END",
                               t.kind == 'p' ? "" : "ONLY ", quote_table(t.schema, t.name), t.rows));
    return out;
  }

  Result<> psql(const std::vector<os::Path>& scripts) {
    std::vector<std::string> argv = {"psql",
                                     "--no-psqlrc",
                                     "--quiet",
                                     "--no-password",
                                     "--single-transaction",
                                     "--set=ON_ERROR_STOP=1",
                                     "--output=/dev/null",
                                     "--dbname=" + to_.options_.into.connection};
    for (const os::Path& s : scripts) argv.push_back("--file=" + s.native());
    return run(std::move(argv)).map([](const auto&) {});
  }

  // One of PostgreSQL's programs, of the version of the tables.
  Result<os::ProcessResult> run(std::vector<std::string> argv) {
    const std::string name = argv[0];
    argv[0] = (binaries_.folder / name).native();
    TRY_ASSIGN(auto done, os::run(ctx_, argv, {}, 256u << 20));
    if (done.exit_code != 0)
      return fail(Code::kDatabase, fmt::format("{}: {}", name, words_of(done)),
                  "nothing was changed; with --target FILE.sql the table comes as a script, to be adapted");
    return done;
  }

  Result<> look_for_keys() {
    for (const ForeignKey& k : keys_) {
      TRY_ASSIGN(const Rows rows,
                 here_.query(ctx_,
                             "SELECT 1 FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conname = $2"
                             " AND conrelid = pg_catalog.to_regclass($1)",
                             {quote_table(k.schema, k.table), k.name}));
      if (rows.size() == 0)
        note(fmt::format("the foreign key {} was left out, for it does not hold here: {}", printable(k.name),
                         printable(k.definition)));
    }
    return {};
  }

  const Context& ctx_;
  const Binaries& binaries_;
  LoadTarget& to_;
  RecoveredDatabase& from_;
  Connection& here_;
  Connection& there_;
  DumpOptions dump_;
  std::string begin_;
  std::map<std::string, std::set<std::string>> ours_;
  std::vector<ForeignKey> keys_;
  Loaded out_;
};

Result<Loaded> LoadTarget::load(const Context& ctx, const Binaries& binaries, RecoveredDatabase& from) {
  return Work(ctx, binaries, *this, from).run();
}

}  // namespace varve::engine::postgres
