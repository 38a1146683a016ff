#include "os/process.h"

namespace varve::os {

Result<std::vector<std::string>> split_words(std::string_view command) {
  if (command.find('\0') != command.npos) return fail(Code::kUsage, "a command holds a zero byte");
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    const bool has_next = i + 1 < command.size();
    if (quote == '\'') {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (quote == '"') {
      if (c == quote)
        quote = 0;
      else if (c == '\\' && has_next &&
               std::string_view("\"\\$`").find(command[i + 1]) != std::string_view::npos)
        word += command[++i];
      else
        word += c;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
      continue;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '\\') {
      if (!has_next) return fail(Code::kUsage, "a command ends with a lone backslash");
      word += command[++i];
    } else {
      word += c;
    }
    in_word = true;
  }
  if (quote != 0)
    return fail(Code::kUsage, std::string("a command has an unclosed quote ") + quote, "close the quote");
  if (in_word) words.push_back(std::move(word));
  if (words.empty()) return fail(Code::kUsage, "an empty command");
  return words;
}

}  // namespace varve::os
