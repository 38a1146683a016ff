// credential_process: a program that prints credentials.
#include "os/process.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "store/s3/credentials/providers.h"

namespace varve::store::s3 {

constexpr std::chrono::seconds kPatience{60};

Result<FetchedCredentials> from_process(const Context& ctx, const std::string& command) {
  const std::string source = "the program of credential_process";
  auto words = os::split_words(command);
  if (!words) return fail(std::move(words).error().with_context("credential_process"));
  Context bounded = ctx.with_deadline(kPatience);
  TRY_ASSIGN(auto done, os::run(bounded, *words, {}, 64 << 10));
  const crypto::SecretText out{std::string(as_text(done.out))};
  crypto::wipe(done.out);
  if (done.exit_code != 0)
    return fail(Code::kDenied,
                fmt::format("{} ({}) ended with {}: {}", source, printable((*words)[0]), done.exit_code,
                            printable(trim(std::string_view(done.err).substr(0, 300)))));
  const auto json = nlohmann::json::parse(out.text(), nullptr, false);
  if (!json.is_object() || json.value("Version", nlohmann::json()) != 1)
    return fail(Code::kDenied, source + " printed no JSON object of \"Version\": 1");
  return parse_credentials_json(out.text(), "SessionToken", source);
}

}  // namespace varve::store::s3
