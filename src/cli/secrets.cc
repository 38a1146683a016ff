#include "cli/secrets.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "os/file.h"
#include "os/process.h"

namespace varve::cli {
namespace {

constexpr size_t kMaxSecret = 4096;
constexpr char kHowToGive[] =
    "give it by $VARVE_PASSPHRASE, --passphrase-file FILE or --passphrase-command COMMAND; a key by "
    "--key-file FILE";

Result<Buffer> read_secret_file(const std::string& path) {
  TRY_ASSIGN(const auto status, os::status(path));
  if (!status) return fail(Code::kUsage, fmt::format("there is no file {}", printable(path)), kHowToGive);
  if (status->is_regular && (status->mode & 077) != 0)
    log::warn("{} can be read by others: chmod 600 {}", printable(path), printable(path));
  return os::read_file(path, kMaxSecret);
}

Result<Buffer> run_secret_command(const Context& ctx, const std::string& command) {
  TRY_ASSIGN(const auto words, os::split_words(command));
  if (words.empty()) return fail(Code::kUsage, "the command that gives the key is empty");
  auto result = os::run(ctx.with_deadline(std::chrono::seconds(60)), words, {}, kMaxSecret);
  if (!result)
    return fail(std::move(result).error().with_context("while running the command that gives the key"));
  if (result->exit_code != 0) {
    const std::string said(trim(result->err));
    return fail(
        Code::kUsage,
        fmt::format("\"{}\", which gives the key, ended with {}", printable(words[0]), result->exit_code),
        said.empty() ? "run it by hand to see why" : "it said: " + said);
  }
  return std::move(result->out);
}

// The terminal's echo off for as long as this lives.
class Silence {
 public:
  Silence() {
    active_ = tcgetattr(STDIN_FILENO, &before_) == 0;
    if (!active_) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    active_ = tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
  }
  ~Silence() {
    if (active_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  bool active() const { return active_; }

 private:
  termios before_{};
  bool active_ = false;
};

Result<crypto::SecretText> read_line(const Context& ctx, const std::string& question) {
  fmt::print(stderr, "{}", question);
  std::fflush(stderr);
  const Silence silence;
  if (!silence.active())
    return fail(Code::kIo, "the terminal does not let its echo be switched off", kHowToGive);
  std::string line;
  line.reserve(kMaxSecret);  // no copies left behind by growth
  while (true) {
    pollfd waiting{STDIN_FILENO, POLLIN, 0};
    if (poll(&waiting, 1, 200) < 0 && errno != EINTR)
      return fail(os::errno_error(errno, "read", "the terminal"));
    if (auto going = ctx.check(); !going) {
      fmt::print(stderr, "\n");
      return fail(std::move(going).error());
    }
    if ((waiting.revents & (POLLIN | POLLHUP)) == 0) continue;
    char c = 0;
    const ssize_t n = read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || c == '\n') break;
    if (line.size() + 1 >= kMaxSecret) return fail(Code::kUsage, "the passphrase is too long");
    line += c;
  }
  fmt::print(stderr, "\n");
  return crypto::SecretText(std::move(line));
}

}  // namespace

crypto::SecretText take_environment_passphrase() {
  char* value = std::getenv("VARVE_PASSPHRASE");
  if (!value) return {};
  crypto::SecretText out{std::string(value)};
  explicit_bzero(value, std::strlen(value));
  unsetenv("VARVE_PASSPHRASE");
  return out;
}

bool SecretPlace::empty() const {
  return passphrase_file.empty() && passphrase_command.empty() && key_file.empty() && key_command.empty();
}

Result<SecretPlace> secret_place(const std::string& passphrase_file, const std::string& passphrase_command,
                                 const std::string& key_file, const std::string& key_command) {
  const int given =
      !passphrase_file.empty() + !passphrase_command.empty() + !key_file.empty() + !key_command.empty();
  if (given > 1)
    return fail(Code::kUsage, "the key is given in more than one way",
                "keep one of --passphrase-file, --passphrase-command, --key-file and --key-command");
  return SecretPlace{passphrase_file, passphrase_command, key_file, key_command};
}

SecretPlace secret_place(const plan::RepositoryConfig& config) {
  return {config.passphrase_file, config.passphrase_command, config.key_file, config.key_command};
}

Result<crypto::SecretText> passphrase_from_text(std::string_view content, const std::string& origin) {
  if (content.ends_with('\n')) content.remove_suffix(1);
  if (content.ends_with('\r')) content.remove_suffix(1);
  if (content.empty())
    return fail(Code::kUsage, fmt::format("{} is empty", printable(origin)), "a passphrase is one line");
  if (content.find('\n') != std::string_view::npos || content.find('\0') != std::string_view::npos)
    return fail(Code::kUsage, fmt::format("{} holds more than one line", printable(origin)),
                "a passphrase is one line");
  return crypto::SecretText{std::string(content)};
}

Result<repo::KeySource> read_secret(const Context& ctx, const SecretPlace& place) {
  repo::KeySource out;
  const bool from_file = !place.passphrase_file.empty() || !place.key_file.empty();
  const std::string& named = place.is_key() ? (from_file ? place.key_file : place.key_command)
                                            : (from_file ? place.passphrase_file : place.passphrase_command);
  TRY_ASSIGN(Buffer content, from_file ? read_secret_file(named) : run_secret_command(ctx, named));
  const std::string origin = from_file ? named : "the output of the command that gives the key";
  if (place.is_key()) {
    if (content.empty()) return fail(Code::kUsage, fmt::format("{} is empty", printable(origin)));
    out.key_file = std::move(content);
    return out;
  }
  auto passphrase = passphrase_from_text(as_text(content), origin);
  crypto::wipe(content);
  if (!passphrase) return fail(std::move(passphrase).error());
  out.passphrase = std::move(*passphrase);
  return out;
}

Result<crypto::SecretText> ask_passphrase(const Context& ctx, const std::string& question, bool twice) {
  if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
    return fail(Code::kUsage, "no passphrase is given, and there is no terminal to ask on", kHowToGive);
  for (int tries = 0; tries < 3; ++tries) {
    TRY_ASSIGN(crypto::SecretText first, read_line(ctx, question + ": "));
    if (first.empty()) {
      fmt::print(stderr, "it must not be empty\n");
      continue;
    }
    if (!twice) return first;
    TRY_ASSIGN(const crypto::SecretText second, read_line(ctx, "once more: "));
    if (crypto::equal(as_bytes(first.text()), as_bytes(second.text()))) return first;
    fmt::print(stderr, "the two are not the same\n");
  }
  return fail(Code::kUsage, "no passphrase after three tries", kHowToGive);
}

}  // namespace varve::cli
