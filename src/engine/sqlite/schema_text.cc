#include "engine/sqlite/schema_text.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "engine/sqlite/connection.h"

namespace varve::engine::sqlite {

namespace {

struct Token {
  size_t at = 0, size = 0;
};

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_word(char c) {
  const auto u = static_cast<unsigned char>(c);
  return u >= 0x80 || (u >= '0' && u <= '9') || (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') ||
         u == '_' || u == '$';
}

class Tokens {
 public:
  explicit Tokens(std::string_view sql) : sql_(sql) {}

  // nullopt at the end, and where a quote or comment does not end.
  std::optional<Token> next() {
    if (!skip_blanks()) return std::nullopt;
    const size_t begin = at_;
    const char c = sql_[at_];
    if (c == '"' || c == '\'' || c == '`' || c == '[') {
      if (!skip_quoted(c == '[' ? ']' : c)) return std::nullopt;
    } else if (is_word(c)) {
      while (at_ < sql_.size() && is_word(sql_[at_])) ++at_;
    } else {
      ++at_;
    }
    return Token{begin, at_ - begin};
  }
  bool is(const std::optional<Token>& t, std::string_view lower_word) const {
    return t && to_lower(sql_.substr(t->at, t->size)) == lower_word;
  }
  size_t position() const { return at_; }
  void rewind(size_t position) { at_ = position; }

 private:
  bool skip_blanks() {
    while (at_ < sql_.size()) {
      if (is_space(sql_[at_])) {
        ++at_;
      } else if (sql_.substr(at_, 2) == "--") {
        at_ = std::min(sql_.find('\n', at_), sql_.size());
      } else if (sql_.substr(at_, 2) == "/*") {
        const size_t end = sql_.find("*/", at_ + 2);
        if (end == std::string_view::npos) return false;
        at_ = end + 2;
      } else {
        return true;
      }
    }
    return false;
  }
  bool skip_quoted(char end) {
    for (++at_; at_ < sql_.size(); ++at_) {
      if (sql_[at_] != end) continue;
      const bool doubled = end != ']' && at_ + 1 < sql_.size() && sql_[at_ + 1] == end;
      ++at_;
      if (!doubled) return true;
    }
    return false;
  }

  std::string_view sql_;
  size_t at_ = 0;
};

}  // namespace

Result<NamePlace> find_created_name(std::string_view sql) {
  Tokens tokens(sql);
  const auto unexpected = [] {
    return fail(Code::kDatabase, "the schema holds a statement that creates nothing");
  };
  auto token = tokens.next();
  if (!tokens.is(token, "create")) return unexpected();
  const auto one_of = [&](auto... words) { return (tokens.is(token, words) || ...); };
  do {
    token = tokens.next();
  } while (one_of("temp", "temporary", "unique", "virtual"));
  if (!one_of("table", "index", "trigger", "view")) return unexpected();

  token = tokens.next();
  if (tokens.is(token, "if")) {
    // "if" alone may be a name.
    const size_t after_if = tokens.position();
    const bool is_clause = tokens.is(tokens.next(), "not") && tokens.is(tokens.next(), "exists");
    if (is_clause) {
      token = tokens.next();
    } else {
      tokens.rewind(after_if);
    }
  }
  if (!token) return unexpected();
  NamePlace place{token->at, token->size};
  if (tokens.is(tokens.next(), ".")) {
    const auto name = tokens.next();
    if (!name) return unexpected();
    place.size = name->at + name->size - place.at;
  }
  return place;
}

Result<std::string> with_created_name(std::string_view sql, std::string_view name) {
  TRY_ASSIGN(const NamePlace place, find_created_name(sql));
  std::string out(sql);
  out.replace(place.at, place.size, quote_name(name));
  return out;
}

}  // namespace varve::engine::sqlite
