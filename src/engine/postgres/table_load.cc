#include "engine/postgres/table_load.h"

#include <fmt/format.h>

#include "base/text.h"
#include "engine/postgres/table_fit.h"

namespace varve::engine::postgres {

Result<LoadTarget> LoadTarget::open(const Context& ctx, const LoadOptions& options,
                                    const std::string& source_database) {
  LoadTarget out;
  out.options_ = options;
  if (database_of(options.into).empty()) {
    TRY_ASSIGN(out.options_.into,
               make_source(options.into.connection + " dbname=" + quote_option(source_database), {}));
  }
  SessionOptions session;
  session.database = database_of(out.options_.into);
  TRY_ASSIGN(out.session_, Connection::open(ctx, out.options_.into, session));
  return out;
}

Result<> LoadTarget::ensure_free(const Context& ctx, const std::string& schema, const std::string& name) {
  return postgres::ensure_free(ctx, *session_, schema, name);
}

// One load: everything is done at once, by one session of psql.
class LoadTarget::Work {
 public:
  Work(const Context& ctx, const Binaries& binaries, LoadTarget& to, RecoveredDatabase& from)
      : ctx_(ctx), binaries_(binaries), to_(to), from_(from) {}

  Result<Loaded> run() {
    const os::Path& folder = to_.options_.work_folder;
    TRY_ASSIGN(const Fitting fit, fit_tables(ctx_, binaries_, *to_.session_, from_, to_.options_.as, folder));
    out_.notes = fit.notes;
    TRY_ASSIGN(keys_, from_.take_foreign_keys(ctx_));
    const os::Path begin = folder / "begin.sql", dump = folder / "tables.sql", end = folder / "end.sql";
    TRY_OK(os::replace_file(begin, as_bytes(fit.begin)));
    TRY_OK(dump_tables(ctx_, binaries_, from_, dump, fit.dump));
    TRY_OK(os::replace_file(end, as_bytes(closing())));
    TRY_OK(psql({begin, dump, end}));
    TRY_OK(look_for_keys());
    return std::move(out_);
  }

 private:
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
      std::string body =
          fmt::format("BEGIN SET LOCAL lock_timeout = '10s'; ALTER TABLE {} ADD CONSTRAINT {} {};", table,
                      name, k.definition);
      if (!k.comment.empty())
        body += fmt::format(" COMMENT ON CONSTRAINT {} ON {} IS {};", name, table, quote_literal(k.comment));
      out += block(body + " EXCEPTION WHEN OTHERS THEN NULL; END");
    }
    for (const TakenTable& t : from_.tables())
      out +=
          block(fmt::format("DECLARE n pg_catalog.int8; BEGIN SELECT pg_catalog.count(*) INTO n FROM {0}{1};"
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
    auto done = run_client(ctx_, binaries_, std::move(argv));
    if (done) return {};
    return fail(std::move(done).error().with_hint(
        "nothing was changed; with --target FILE.sql the table comes as a script, to be adapted"));
  }

  Result<> look_for_keys() {
    for (const ForeignKey& k : keys_) {
      TRY_ASSIGN(
          const Rows rows,
          to_.session_->query(ctx_,
                              "SELECT 1 FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conname = $2"
                              " AND conrelid = pg_catalog.to_regclass($1)",
                              {quote_table(k.schema, k.table), k.name}));
      if (rows.size() == 0)
        out_.notes.push_back(fmt::format("the foreign key {} was left out, for it does not hold here: {}",
                                         printable(k.name), printable(k.definition)));
    }
    return {};
  }

  const Context& ctx_;
  const Binaries& binaries_;
  LoadTarget& to_;
  RecoveredDatabase& from_;
  std::vector<ForeignKey> keys_;
  Loaded out_;
};

Result<Loaded> LoadTarget::load(const Context& ctx, const Binaries& binaries, RecoveredDatabase& from) {
  return Work(ctx, binaries, *this, from).run();
}

}  // namespace varve::engine::postgres
