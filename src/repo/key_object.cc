#include "repo/key_object.h"

#include <fmt/format.h>

#include "base/text.h"
#include "repo/sealed_json.h"

namespace varve::repo {
namespace {

constexpr uint64_t kFormat = 1;
constexpr std::string_view kKeyFileMark = "VARVE-KEY-1 ";
constexpr size_t kCheckSize = 16;
constexpr size_t kMaxLabel = 200;

Result<Buffer> json_base64(const nlohmann::json& object, const char* member, size_t size) {
  TRY_ASSIGN(const std::string text, json_text(object, member));
  auto bytes = crypto::from_base64(text);
  if (!bytes || bytes->size() != size)
    return fail(Code::kDamaged, fmt::format("\"{}\" is not {} bytes of base64", member, size));
  return bytes;
}

Result<crypto::Argon2Params> parse_argon2id(const nlohmann::json& json) {
  const auto it = json.find("argon2id");
  if (it == json.end() || !it->is_object()) return fail(Code::kDamaged, "\"argon2id\" is missing");
  crypto::Argon2Params out;
  TRY_ASSIGN(out.passes, json_number(*it, "passes"));
  TRY_ASSIGN(out.memory_bytes, json_number(*it, "memory"));
  TRY_ASSIGN(const Buffer salt, json_base64(*it, "salt", out.salt.size()));
  std::copy(salt.begin(), salt.end(), out.salt.begin());
  return out;
}

Result<KeyObject> parse_members(const nlohmann::json& json) {
  KeyObject out;
  TRY_ASSIGN(const uint64_t format, json_number(json, "format"));
  if (format != kFormat)
    return fail(Code::kUnsupported, fmt::format("was written by a newer varve (format {})", format),
                "update varve on this machine, then try again");
  TRY_ASSIGN(const std::string repository, json_text(json, "repository"));
  TRY_ASSIGN(out.repository, RepoId::from_hex_text(repository));
  TRY_ASSIGN(out.id, json_text(json, "id"));
  TRY_ASSIGN(out.kind, json_text(json, "kind"));
  TRY_ASSIGN(out.label, json_text(json, "label"));
  TRY_ASSIGN(out.created, json_time(json, "created"));
  if (out.kind == "passphrase") {
    TRY_ASSIGN(out.argon2id, parse_argon2id(json));
  } else if (out.kind != "key-file") {
    return fail(Code::kUnsupported, fmt::format("is of the unknown kind \"{}\"", printable(out.kind)));
  }
  TRY_ASSIGN(out.check, json_base64(json, "check", kCheckSize));
  TRY_ASSIGN(out.wrapped, json_base64(json, "wrapped", crypto::SecretKey::kSize + crypto::kTagSize));
  return out;
}

void put_text(Buffer& to, std::string_view text) {
  append(to, as_bytes(text));
  to.push_back(std::byte{0});
}

Buffer wrap_aad(const KeyObject& o, const crypto::Digest& config_digest) {
  Buffer aad;
  put_text(aad, "varve key 1");
  append(aad, o.repository.view());
  append(aad, config_digest);
  for (const std::string& text : {o.id, o.kind, o.label, to_rfc3339(o.created)}) put_text(aad, text);
  return aad;
}

// Bound to the repository and the object, so that one key file used for many objects seals each under another
// key.
crypto::SecretKey derived(const crypto::SecretKey& master, std::string_view context, const KeyObject& o) {
  Buffer info = to_buffer(o.repository.view());
  append(info, as_bytes(o.id));
  return crypto::derive(master, context, info);
}

Buffer check_value(const crypto::SecretKey& master, const KeyObject& o) {
  return to_buffer(ByteView(derived(master, "varve key check 1", o).bytes()).first(kCheckSize));
}

std::string encode_key_object(const KeyObject& o) {
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["repository"] = o.repository.hex();
  json["id"] = o.id;
  json["kind"] = o.kind;
  json["label"] = o.label;
  json["created"] = to_rfc3339(o.created);
  if (o.argon2id) {
    json["argon2id"]["passes"] = o.argon2id->passes;
    json["argon2id"]["memory"] = o.argon2id->memory_bytes;
    json["argon2id"]["salt"] = crypto::to_base64(o.argon2id->salt);
  }
  json["check"] = crypto::to_base64(o.check);
  json["wrapped"] = crypto::to_base64(o.wrapped);
  return json_with_checksum(json);
}

}  // namespace

std::string generate_key_file() {
  const crypto::SecretKey key = crypto::SecretKey::random();
  return fmt::format("{}{}\n", kKeyFileMark, crypto::to_base64(key.bytes()));
}

Result<KeyObject> parse_key_object(std::string_view id, std::string_view text) {
  const std::string name = key_key(id);
  TRY_ASSIGN(const nlohmann::json json, parse_checked_json(text, name));
  auto out = parse_members(json);
  if (!out) {
    const Code code = out.error().code == Code::kUnsupported ? Code::kUnsupported : Code::kDamaged;
    return fail(code, fmt::format("{}: {}", name, out.error().message), out.error().hint);
  }
  if (out->id != id) return fail(Code::kDamaged, fmt::format("{}: is the copy of another key object", name));
  out->text = text;
  return out;
}

Result<Secret> Secret::from(const KeySource& source) {
  Secret out;
  if (!source.passphrase.empty() && !source.key_file.empty())
    return fail(Code::kUsage, "both a passphrase and a key file are given", "give one of them");
  if (source.empty()) return fail(Code::kUsage, "the passphrase is empty");
  if (source.key_file.empty()) {
    out.passphrase_ = source.passphrase;
    return out;
  }
  std::string_view line = as_text(source.key_file);
  if (line.ends_with('\n')) line.remove_suffix(1);
  Result<Buffer> bytes = fail(Code::kUsage, "");
  if (line.starts_with(kKeyFileMark)) bytes = crypto::from_base64(line.substr(kKeyFileMark.size()));
  if (!bytes || bytes->size() != crypto::SecretKey::kSize)
    return fail(Code::kUsage, "the key file is not one that varve made",
                "it holds one line: VARVE-KEY-1 and 44 characters of base64");
  out.file_key_ = crypto::SecretKey(std::span<const std::byte, crypto::SecretKey::kSize>(*bytes));
  crypto::wipe(*bytes);
  return out;
}

Result<crypto::SecretKey> Secret::master(const KeyObject& object) const {
  if (!is_passphrase()) return file_key_;
  return crypto::derive_from_passphrase(passphrase_.text(), *object.argon2id);
}

Result<KeyObject> Secret::wrap(const Config& config, const crypto::Digest& config_digest,
                               const crypto::SecretKey& root, const std::string& label) const {
  KeyObject out;
  out.id = to_hex(crypto::random_array<8>());
  out.repository = config.id;
  out.kind = kind();
  out.label = printable(label);
  if (out.label.size() > kMaxLabel)
    return fail(Code::kUsage, fmt::format("the label is longer than {} bytes", kMaxLabel));
  out.created = std::chrono::floor<Seconds>(now());
  if (is_passphrase()) {
    out.argon2id.emplace();
    crypto::random_bytes(out.argon2id->salt);
  }
  TRY_ASSIGN(const crypto::SecretKey secret, master(out));
  out.check = check_value(secret, out);
  out.wrapped.resize(crypto::SecretKey::kSize + crypto::kTagSize);
  TRY_OK(crypto::seal(derived(secret, "varve key wrap 1", out), 0, wrap_aad(out, config_digest), root.bytes(),
                      out.wrapped));
  out.text = encode_key_object(out);
  return out;
}

Result<crypto::SecretKey> Secret::unwrap(const KeyObject& object, const crypto::Digest& config_digest) const {
  TRY_ASSIGN(const crypto::SecretKey secret, master(object));
  if (!crypto::equal(check_value(secret, object), object.check))
    return fail(Code::kUsage, fmt::format("wrong {}", is_passphrase() ? "passphrase" : "key file"));
  std::array<std::byte, crypto::SecretKey::kSize> bytes;
  auto opened = crypto::open(derived(secret, "varve key wrap 1", object), 0, wrap_aad(object, config_digest),
                             object.wrapped, bytes);
  if (!opened)
    return fail(Code::kDamaged,
                fmt::format("{} or {} was altered after the key was made", kConfigKey, key_key(object.id)),
                "put the true ones back from the recovery kit: varve key restore");
  crypto::SecretKey root(bytes);
  crypto::wipe(bytes);
  return root;
}

}  // namespace varve::repo
