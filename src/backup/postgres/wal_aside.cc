#include "backup/postgres/wal_aside.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "codec/codec.h"

namespace varve::backup::postgres {
namespace {

constexpr std::string_view kSent = "sent", kNext = "next";
constexpr uint64_t kLargestNote = 1 << 20;
constexpr size_t kTrailer = 2 * sizeof(codec::Checksum);
constexpr auto kSentHolds = std::chrono::hours(1);

template <typename Number>
bool read_number(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::string hex(const codec::Checksum& sum) {
  std::string out;
  for (const std::byte b : sum) out += fmt::format("{:02x}", static_cast<unsigned>(b));
  return out;
}

// A note is lines of text; the first is a checksum of the others and of the origin.
std::string sealed(const std::string& origin, const std::string& lines) {
  return hex(codec::checksum(as_bytes(origin + "\n" + lines))) + "\n" + lines;
}
std::optional<std::string> unsealed(const std::string& origin, const os::Path& path) {
  const auto content = os::read_file(path, kLargestNote);
  if (!content) return std::nullopt;
  const std::string_view text = as_text(*content);
  const size_t line = text.find('\n');
  if (line == text.npos) return std::nullopt;
  std::string lines(text.substr(line + 1));
  return sealed(origin, lines) == text ? std::optional(std::move(lines)) : std::nullopt;
}

std::string line_of(const WalAside::Mark& m) {
  return fmt::format("{} {} {} {} {}", m.name, m.device, m.inode, m.size, m.changed_ns);
}

Buffer trailer(ByteView bytes, const std::string& origin, const std::string& segment) {
  Buffer out;
  append(out, codec::checksum(bytes));
  append(out, codec::checksum(as_bytes(origin + "\n" + segment)));
  return out;
}

}  // namespace

Result<WalAside::Mark> WalAside::mark(const os::Path& file) {
  struct stat s;
  if (::stat(file.c_str(), &s) != 0) return fail(os::errno_error(errno, "look at", file));
  return Mark{file.filename().native(), s.st_dev, s.st_ino, static_cast<uint64_t>(s.st_size),
              int64_t{s.st_ctim.tv_sec} * 1'000'000'000 + s.st_ctim.tv_nsec};
}

Result<> WalAside::ensure_folder() const {
  if (is_ours()) return {};
  if (::mkdir(folder_.c_str(), 0700) != 0) return fail(os::errno_error(errno, "make the folder", folder_));
  return {};
}

// Another user could put there what we then take for the repository's.
bool WalAside::is_ours() const {
  struct stat s;
  return ::lstat(folder_.c_str(), &s) == 0 && S_ISDIR(s.st_mode) && s.st_uid == ::geteuid() &&
         (s.st_mode & 0022) == 0;
}

Result<> WalAside::note_sent(const std::vector<Mark>& files) const {
  TRY_OK(ensure_folder());
  std::string lines = fmt::format("{}\n", now().time_since_epoch() / std::chrono::seconds(1));
  for (const Mark& m : files) lines += line_of(m) + "\n";
  return os::replace_file(folder_ / kSent, as_bytes(sealed(origin_, lines)));
}

bool WalAside::was_sent(const os::Path& file) const {
  if (!is_ours()) return false;
  const auto note = unsealed(origin_, folder_ / kSent);
  const auto is = mark(file);
  if (!note || !is) return false;
  const auto lines = split(*note, '\n');
  int64_t at = 0;
  if (!read_number(lines.front(), at)) return false;
  const auto age = now().time_since_epoch() - std::chrono::seconds(at);
  if (age < std::chrono::seconds(-1) || age > kSentHolds) return false;
  return std::find(lines.begin() + 1, lines.end(), line_of(*is)) != lines.end();
}

// Not synced: after a crash the checksum tells whether it is whole.
Result<> WalAside::keep(const std::string& segment, ByteView bytes) const {
  TRY_OK(ensure_folder());
  const os::Path part = folder_ / fmt::format("{}.{}.part", segment, ::getpid());
  TRY_ASSIGN(os::File file, os::File::open(part, os::File::Mode::kCreateNew, 0600));
  auto done = file.write_at(0, bytes);
  if (done) done = file.write_at(bytes.size(), trailer(bytes, origin_, segment));
  if (done) done = file.close();
  if (done) done = os::rename_file(part, folder_ / segment);
  if (!done) (void)os::remove_file(part);
  return done;
}

bool WalAside::take(const std::string& segment, const os::Path& target) const {
  if (!is_ours()) return false;
  // Renamed first: so it is ours alone.
  const os::Path taken = folder_ / fmt::format("{}.{}.taken", segment, ::getpid());
  if (::rename((folder_ / segment).c_str(), taken.c_str()) != 0) return false;
  const auto put = [&]() -> Result<> {
    TRY_ASSIGN(os::File file, os::File::open(taken, os::File::Mode::kReadWrite));
    TRY_ASSIGN(const uint64_t size, file.size());
    if (size < kTrailer) return fail(Code::kDamaged, "is too short");
    Buffer content(size);
    TRY_OK(file.read_exact_at(0, content));
    const ByteView bytes = ByteView(content).first(size - kTrailer);
    const Buffer expected = trailer(bytes, origin_, segment);
    if (!std::equal(expected.begin(), expected.end(), content.end() - kTrailer))
      return fail(Code::kDamaged, "is not what was fetched, or from elsewhere");
    TRY_OK(file.truncate(bytes.size()));
    TRY_OK(file.close());
    return os::rename_file(taken, target);
  }();
  if (put) return true;
  log::debug("{}, fetched ahead: {}", segment, put.error().describe());
  (void)os::remove_file(taken);
  return false;
}

std::optional<WalAside::Next> WalAside::next() const {
  if (!is_ours()) return std::nullopt;
  const auto note = unsealed(origin_, folder_ / kNext);
  if (!note) return std::nullopt;
  const auto words = split(*note, ' ');
  Next out;
  if (words.size() != 2 || !read_number(words[1], out.ahead)) return std::nullopt;
  out.segment = words[0];
  return out;
}

Result<> WalAside::expect(const Next& next) const {
  TRY_OK(ensure_folder());
  return os::replace_file(folder_ / kNext,
                          as_bytes(sealed(origin_, fmt::format("{} {}", next.segment, next.ahead))));
}

void WalAside::forget_fetched() const {
  if (!is_ours()) return;
  const auto names = os::list_directory(folder_);
  if (!names) return;
  for (const std::string& name : *names) {
    if (name != kSent) (void)os::remove_file(folder_ / name);
  }
  (void)::rmdir(folder_.c_str());  // when nothing else is in it
}

}  // namespace varve::backup::postgres
