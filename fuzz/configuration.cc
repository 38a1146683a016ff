// varve.toml as anyone may write it: an error that names the file, or a configuration whose references hold.
#include "fuzz.h"
#include "plan/config.h"

using namespace varve;

FUZZ_TARGET(input) {
  const auto config = plan::parse_configuration(std::string(as_text(input)), "varve.toml");
  if (!config) {
    FUZZ_CHECK(config.error().code == Code::kUsage && config.error().message.starts_with("varve.toml:"));
    return;
  }
  for (const auto& [name, source] : config->sources) {
    FUZZ_CHECK(name == source.name && !source.engine.empty() && !source.address.empty());
    for (const auto& repository : source.repositories) FUZZ_CHECK(config->repositories.contains(repository));
    FUZZ_CHECK(source.plan.empty() || config->plans.contains(source.plan));
  }
  for (const auto& [name, repository] : config->repositories) FUZZ_CHECK(!repository.url.empty());
}
