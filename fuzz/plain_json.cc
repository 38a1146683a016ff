// varve.json, key objects, pins of copies and recovery kits, as they are and with their checksums mended.
#include "fuzz.h"
#include "repo/config.h"
#include "repo/copy_pin.h"
#include "repo/key_object.h"
#include "repo/sealed_json.h"
#include "store/open.h"

using namespace varve;

namespace {

void decode(std::string_view text) {
  if (auto config = repo::decode_config(text)) FUZZ_CHECK(repo::decode_config(repo::encode_config(*config)));
  if (auto key = repo::parse_key_object("0123456789abcdef", text)) {
    FUZZ_CHECK(key->text == text);
    FUZZ_CHECK(key->argon2id.has_value() == (key->kind == "passphrase"));
  }
  const store::Key pin = "copies/0123456789abcdef01234567";
  if (auto copy = repo::parse_copy_pin(pin, text)) {
    FUZZ_CHECK(repo::copy_key(copy->id) == pin);
    (void)repo::has_ended(*copy, {});
    (void)repo::describe(*copy);
  }
}

}  // namespace

FUZZ_TARGET(input) {
  const std::string_view text = as_text(input);
  decode(text);
  // Of these members only the text counts; deep ones only cost time.
  if (auto json = nlohmann::ordered_json::parse(text, nullptr, false);
      json.is_object() && text.size() < 4096) {
    json.erase("checksum");
    if (!json.empty()) decode(repo::json_with_checksum(json));
  }
  auto store = store::open_store({}, "mem://fuzz-plain-json", {.create = true});
  auto restored = repo::Repository::restore_from_kit({}, **store, text);
  if (!restored) return;
  for (const store::Key& key : *restored) FUZZ_CHECK(store::remove_one(**store, {}, key));
}
