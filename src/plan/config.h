// varve.toml: repositories, sources and plans. Reads text; opens nothing else.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "plan/rate.h"
#include "plan/retention.h"
#include "store/place.h"

namespace varve::plan {

struct RepositoryConfig {
  std::string name, url;
  std::string encryption = "passphrase";  // or "none"
  std::string passphrase_file, passphrase_command, key_file, key_command;
  RateLimit limit_rate;
  std::optional<Seconds> retain;  // for so long the store itself refuses to remove what was written
  store::Settings settings;       // region, endpoint, …: as its kind of store has them
};
struct Objectives {
  std::optional<Seconds> rpo, rto, window;
};
struct PlanConfig {
  std::string name;
  Objectives objectives;
  std::map<std::string, std::string> schedule;  // full, differential, incremental, log: as written
  Retention retention;                          // window from objectives when not given itself
  std::vector<std::string> copies;              // repositories that hold a copy: varve copy
  std::optional<RateLimit> limit_rate;          // instead of the repository's
};
struct SourceConfig {
  std::string name, engine, address;  // address: "sqlite:/srv/app.db" from `path`
  std::vector<std::string> repositories;
  std::string plan;
  std::map<std::string, std::string> settings;  // connection, data_directory, access, …
};
struct Configuration {
  std::string path;  // where it came from; empty: none
  std::map<std::string, RepositoryConfig> repositories;
  std::map<std::string, SourceConfig> sources;
  std::map<std::string, PlanConfig> plans;
};

// kUsage names file, line and the nearest known word for an unknown key; references between sections are
// checked.
Result<Configuration> parse_configuration(const std::string& text, const std::string& path);

}  // namespace varve::plan
