#include "engine/postgres/table_fit.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/text.h"

namespace varve::engine::postgres {

Result<> ensure_free(const Context& ctx, Connection& session, const std::string& schema,
                     const std::string& name) {
  TRY_ASSIGN(const Rows rows,
             session.query(ctx,
                           "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
                           " ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
                           {schema, name}));
  if (rows.size() == 0) return {};
  return fail(
      Code::kConflict,
      fmt::format("the database {} has {} already, and nothing is ever replaced",
                  printable(session.database()), printable(TableName{"", schema, name}.text())),
      fmt::format("give the restored one a name of its own: --as {}", fitting_name(name, "_restored")));
}

namespace {

class Fit {
 public:
  Fit(const Context& ctx, const Binaries& binaries, Connection& here, RecoveredDatabase& from,
      const std::string& as, const os::Path& folder)
      : ctx_(ctx),
        binaries_(binaries),
        here_(here),
        there_(from.session()),
        from_(from),
        as_(as),
        folder_(folder),
        database_(here.database()) {}

  Result<Fitting> run() {
    TRY_OK(names());
    TRY_OK(extensions());
    TRY_OK(schemas());
    TRY_OK(types());
    TRY_OK(roles());
    TRY_OK(triggers());
    TRY_OK(tablespaces());
    TRY_OK(others_keys());
    return std::move(out_);
  }

 private:
  void note(std::string text) { out_.notes.push_back(std::move(text)); }
  Result<> free(const std::string& schema, const std::string& name) {
    return ensure_free(ctx_, here_, schema, name);
  }

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
    if (!as_.empty()) {
      TRY_OK(free(from_.tables().front().schema, as_));
      return rename_table(ctx_, from_, as_, taken);
    }
    std::map<std::string, std::set<std::string>> used;
    std::vector<std::pair<uint32_t, std::string>> to;
    for (const Member& m : from_.members()) {
      if (m.is_internal()) continue;
      if (m.is_table()) TRY_OK(free(m.schema, m.name));
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
        " d(classid, objid) AS (SELECT classid, objid FROM o UNION SELECT p.refclassid, p.refobjid FROM o "
        "JOIN"
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
                  fmt::format("the table needs the extension {}, which the database {} lacks",
                              printable(name), printable(database_)),
                  fmt::format("there: CREATE EXTENSION {}", quote_identifier(name)));
    }
    return {};
  }

  Result<> schemas() {
    TRY_ASSIGN(const auto present, set_here("SELECT nspname FROM pg_catalog.pg_namespace"));
    std::set<std::string> made;
    for (const Member& m : from_.members()) {
      if (m.is_internal() || present.contains(m.schema) || !made.insert(m.schema).second) continue;
      out_.begin += fmt::format("CREATE SCHEMA {};\n", quote_identifier(m.schema));
      note(fmt::format("the schema {} was made", printable(m.schema)));
    }
    return {};
  }

  // Those that the destination lost are made as they were.
  Result<> types() {
    TRY_ASSIGN(
        const Rows rows,
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
                                printable(name), printable(database_)),
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
    const os::Path archive = folder_ / "definitions.dump", chosen = folder_ / "types.list",
                   script = folder_ / "types.sql";
    TRY_OK(
        run_client(ctx_, binaries_,
                   {"pg_dump", "--dbname=" + from_.spec().connection, "--file=" + archive.native(),
                    "--format=custom", "--schema-only", "--no-owner", "--no-privileges", "--no-password"}));
    TRY_ASSIGN(const auto listed, run_client(ctx_, binaries_, {"pg_restore", "--list", archive.native()}));
    constexpr std::string_view kTypes = "1247";  // pg_type's own oid
    std::string list;
    for (const std::string_view line : split(as_text(listed.out), '\n')) {
      const auto words = split(line, ' ');
      if (words.size() > 3 && words[1] == kTypes && oids.contains(std::string(words[2])))
        list += std::string(line) + "\n";
    }
    TRY_OK(os::replace_file(chosen, as_bytes(list)));
    TRY_OK(run_client(ctx_, binaries_,
                      {"pg_restore", "--use-list=" + chosen.native(), "--file=" + script.native(),
                       "--no-owner", archive.native()}));
    out_.begin += fmt::format("\\i {}\n", quote_literal(script.native()));
    return {};
  }

  // Owners, and to whom something was granted. A role that is not there cannot have anything.
  Result<> roles() {
    TRY_ASSIGN(const auto present, set_here("SELECT rolname FROM pg_catalog.pg_roles"));
    TRY_ASSIGN(const auto super,
               column(here_, "SELECT rolsuper::text FROM pg_catalog.pg_roles WHERE rolname = current_user"));
    const std::string user = here_.user();
    const std::string of_members = fmt::format("c.oid = ANY ({}) AND c.relkind <> 't'", from_.oids(false));
    TRY_ASSIGN(const auto owners, column(there_,
                                         "SELECT DISTINCT pg_catalog.pg_get_userbyid(c.relowner) FROM"
                                         " pg_catalog.pg_class c WHERE " +
                                             of_members));
    const bool is_super = !super.empty() && super[0] == "true";
    for (const std::string& owner : owners) {
      if (owner == user || (is_super && present.contains(owner))) continue;
      out_.dump.owner = false;
      note(fmt::format(
          "the owner is {}, not {}: {}", printable(user), printable(owner),
          present.contains(owner) ? "only a superuser may give tables away" : "there is no such role"));
    }
    TRY_OK(privileges(present, of_members));
    return policies(present);
  }

  Result<> privileges(const std::set<std::string>& present, const std::string& of_members) {
    const std::string acl = "pg_catalog.aclexplode";
    TRY_ASSIGN(
        const Rows rows,
        there_.query(ctx_, fmt::format("SELECT DISTINCT n.nspname, c.relname, c.relkind = 'S',"
                                       " pg_catalog.pg_get_userbyid(g.grantee) FROM pg_catalog.pg_class c"
                                       " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                       " CROSS JOIN LATERAL (SELECT grantee FROM {0}(c.relacl)"
                                       " UNION SELECT x.grantee FROM pg_catalog.pg_attribute a,"
                                       " {0}(a.attacl) x WHERE a.attrelid = c.oid) g"
                                       " WHERE {1} AND g.grantee <> 0 AND g.grantee <> c.relowner",
                                       acl, of_members)));
    std::set<std::string> missing;
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string role(rows.text(i, 3));
      if (present.contains(role)) continue;
      missing.insert(role);
      TRY_OK(there_.query(
          ctx_, fmt::format("REVOKE ALL ON {} {} FROM {} CASCADE", rows.boolean(i, 2) ? "SEQUENCE" : "TABLE",
                            quote_table(rows.text(i, 0), rows.text(i, 1)), quote_identifier(role))));
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
               there_.query(
                   ctx_, fmt::format("SELECT n.nspname, c.relname, t.tgname, f.nspname, p.proname"
                                     " FROM pg_catalog.pg_trigger t"
                                     " JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
                                     " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                     " JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
                                     " JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace"
                                     " WHERE NOT t.tgisinternal AND t.tgrelid = ANY ({}){}",
                                     from_.oids(true), there_.major() >= 13 ? " AND t.tgparentid = 0" : "")));
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
    TRY_ASSIGN(const auto needed,
               column(there_, fmt::format("SELECT DISTINCT s.spcname FROM pg_catalog.pg_class c"
                                          " JOIN pg_catalog.pg_tablespace s"
                                          " ON s.oid = c.reltablespace WHERE c.oid = ANY ({})",
                                          from_.oids(false))));
    TRY_ASSIGN(const auto present, set_here("SELECT spcname FROM pg_catalog.pg_tablespace"));
    for (const std::string& name : needed) {
      if (present.contains(name)) continue;
      out_.dump.tablespaces = false;
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

  const Context& ctx_;
  const Binaries& binaries_;
  Connection& here_;   // where they go
  Connection& there_;  // where they are from
  RecoveredDatabase& from_;
  const std::string& as_;
  const os::Path& folder_;
  const std::string database_;
  std::map<std::string, std::set<std::string>> ours_;
  Fitting out_;
};

}  // namespace

Result<Fitting> fit_tables(const Context& ctx, const Binaries& binaries, Connection& here,
                           RecoveredDatabase& from, const std::string& as, const os::Path& work_folder) {
  return Fit(ctx, binaries, here, from, as, work_folder).run();
}

}  // namespace varve::engine::postgres
