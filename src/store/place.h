// An address taken apart, and the settings that go with it: what a driver is opened from.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace varve::store {

// One thing that can be set for a store: in the configuration's [repository.…], or in the address:
// "s3://bucket/prefix?region=eu-west-1". Secrets are no settings: they come from where each cloud's own tools
// find them, or from a file that a setting names.
struct Setting {
  std::string_view name;   // "region"
  std::string_view value;  // "NAME", "FILE", "true|false", "URL": as the help shows it
  std::string_view help;
};

// Values as written; the getters say kUsage, with the setting's name, for what cannot be read.
class Settings {
 public:
  Result<> set(const std::string& name, std::string value);  // kUsage when it was set already
  void change(const std::string& name, const std::function<std::string(const std::string&)>& how);  // if set
  bool empty() const { return values_.empty(); }
  const std::map<std::string, std::string>& all() const { return values_; }
  std::string text(std::string_view name, std::string_view otherwise = {}) const;
  Result<bool> flag(std::string_view name, bool otherwise) const;
  Result<uint64_t> size(std::string_view name, uint64_t otherwise) const;
  // kUsage for a name that is not in `known`, with the nearest as a hint.
  Result<> check(std::span<const Setting> known) const;

 private:
  std::map<std::string, std::string> values_;
};

struct Place {
  std::string scheme;     // "file", "s3", "azure", "gs", "sftp", "mem"
  std::string authority;  // bucket, container, [user@]host[:port]; mem: the name; file: empty
  std::string
      path;  // percent-decoded. file: as the system takes it; else the prefix, without '/' at its ends
  Settings settings = {};
};

// Reads an address without touching anything: "file:///srv/backups", a plain path (taken as it is),
// "s3://bucket/prefix?region=eu-west-1". kUsage for what is none, with the schemes there are as a hint.
Result<Place> parse_place(std::string_view text);

// What can be set for stores of this scheme; empty for one that is not known.
std::span<const Setting> settings_of(std::string_view scheme);

}  // namespace varve::store
