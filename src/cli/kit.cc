#include "cli/kit.h"

#include <fmt/format.h>

#include "base/text.h"
#include "os/file.h"

namespace varve::cli {
namespace {

// Never over a file that is there.
Result<> write_new_file(const std::string& path, ByteView content) {
  TRY_ASSIGN(os::File file, os::File::open(path, os::File::Mode::kCreateNew, 0600));
  TRY_OK(file.write_at(0, content));
  TRY_OK(file.sync());
  return file.close();
}

}  // namespace

Result<> prepare_key_file(const Session& session, const std::string& path, bool generate) {
  TRY_ASSIGN(const auto there, os::status(path));
  if (there && generate)
    return fail(Code::kExists, fmt::format("{} exists already", printable(path)),
                "leave out --generate to use it, or name another file");
  if (there) return {};
  if (!generate)
    return fail(Code::kUsage, fmt::format("there is no key file {}", printable(path)),
                "make a new one: " + session.typed("--generate"));
  std::string content = repo::generate_key_file();
  auto written = write_new_file(path, as_bytes(content));
  crypto::wipe(std::as_writable_bytes(std::span(content)));
  return written;
}

Result<> write_kit(const Session& session, const repo::Repository& repo, const std::string& file) {
  if (file.empty() && (session.out().json() || session.out().quiet())) return {};
  TRY_ASSIGN(const std::string kit, repo.recovery_kit(session.ctx(), repo.store().describe()));
  if (file.empty()) {
    session.out().text("\n" + kit);
    return {};
  }
  if (auto written = write_new_file(file, as_bytes(kit)); !written)
    return fail(std::move(written).error().with_hint(
        fmt::format("the repository is fine; write its kit elsewhere: varve key kit --repo {} --kit FILE",
                    shell_words({repo.store().describe()}))));
  session.out().line(
      fmt::format("recovery kit: {}; print it and keep it away from this machine", printable(file)));
  return {};
}

}  // namespace varve::cli
