#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "repo/config.h"
#include "repo/key_ring.h"
#include "repo/sealed_json.h"

namespace varve::repo {
namespace {

constexpr size_t kMaxKit = 1 << 20;
constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----END ", kDashes = "-----";

std::string framed(std::string_view name, std::string_view text) {
  return fmt::format("{}{}{}\n{}{}{}{}\n", kBegin, name, kDashes, text, kEnd, name, kDashes);
}

std::string how_to_give(const KeyRing& ring) {
  std::string out;
  const auto has = [&](std::string_view kind) {
    return std::any_of(ring.keys.begin(), ring.keys.end(),
                       [&](const KeyObject& o) { return o.kind == kind; });
  };
  if (has("passphrase"))
    out += "     a passphrase:  --passphrase-file FILE   (its first line; or let varve ask)\n";
  if (has("key-file")) out += "     a key file:    --key-file FILE\n";
  return out;
}

std::string keys_section(const KeyRing& ring) {
  std::string out = "KEYS: any one of these opens the repository. Write down where each is kept.\n\n";
  for (const KeyObject& o : ring.keys) {
    out += fmt::format("  {}  {}, made {}{}\n", o.id, o.kind == "key-file" ? "key file" : o.kind,
                       to_rfc3339(o.created), o.label.empty() ? "" : fmt::format(" ({})", o.label));
    out += fmt::format("     kept at: {:_<64}\n\n", "");
  }
  return out;
}

// The framed objects of a kit, by name. kDamaged when a frame is not closed.
Result<std::vector<std::pair<std::string, std::string>>> frames_of(std::string_view kit) {
  std::vector<std::pair<std::string, std::string>> out;
  bool inside = false;
  for (std::string_view line : split(kit, '\n')) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool is_end = inside && line == fmt::format("{}{}{}", kEnd, out.back().first, kDashes);
    const bool is_begin = !inside && line.starts_with(kBegin) && line.ends_with(kDashes) &&
                          line.size() > kBegin.size() + kDashes.size();
    if (is_end) {
      inside = false;
    } else if (is_begin) {
      line.remove_prefix(kBegin.size());
      line.remove_suffix(kDashes.size());
      out.emplace_back(line, "");
      inside = true;
    } else if (inside) {
      out.back().second.append(line).push_back('\n');
    }
  }
  if (inside)
    return fail(Code::kDamaged, fmt::format("the recovery kit ends within {}", printable(out.back().first)));
  return out;
}

Result<> check_frame(const std::string& name, const std::string& text) {
  Result<> checked;
  if (name == kConfigKey) {
    if (auto config = decode_config(text); !config) checked = fail(std::move(config).error());
  } else if (name.starts_with(kKeyPrefix)) {
    if (auto key = parse_key_object(std::string_view(name).substr(kKeyPrefix.size()), text); !key)
      checked = fail(std::move(key).error());
  } else {
    checked =
        fail(Code::kDamaged, fmt::format("the recovery kit holds {}, which no kit does", printable(name)));
  }
  if (checked) return {};
  return fail(std::move(checked).error().with_hint("copy it exactly: every character and line break counts"));
}

// True when it is to be written: it is missing or damaged.
Result<bool> must_write(const Context& ctx, store::Store& store, const store::Key& name,
                        const std::string& text) {
  auto there = store::get_bytes(store, ctx, name, kMaxJsonObject);
  if (!there && there.error().code == Code::kNotFound) return true;
  if (!there && there.error().code != Code::kDamaged) return fail(std::move(there).error());
  if (there && as_text(*there) == text) return false;
  if (there && parse_checked_json(as_text(*there), name))
    return fail(Code::kConflict,
                fmt::format("{} is there, intact, and another than in the recovery kit", name),
                "the kit may be of another repository; nothing was changed");
  return true;
}

}  // namespace

Result<std::string> Repository::recovery_kit(const Context& ctx, const std::string& address) const {
  TRY_ASSIGN(const KeyRing ring, load_key_ring(ctx, *store_, id()));
  std::string out = "VARVE RECOVERY KIT\n\n";
  out +=
      "With this page, one key and the varve program, everything in the repository can\n"
      "be restored on any machine. Print it; keep it away from the databases.\n\n";
  out += fmt::format("  repository  {}\n  id          {}\n  created     {}\n  encrypted   {}\n\n",
                     printable(address), id().hex(), to_rfc3339(config_.created),
                     encrypted() ? "yes, AES-256-GCM" : "no");
  if (encrypted()) out += keys_section(ring);

  out += "TO RESTORE\n\n";
  out += "  1. Install varve on a machine that reaches the repository.\n";
  if (encrypted()) out += "  2. Have a key. Add to each command below, for\n" + how_to_give(ring);
  out += fmt::format("  {}. varve list --repo '{}'\n", encrypted() ? 3 : 2, printable(address));
  out += "     shows the sources, their backups, and the moments that can be restored.\n";
  out +=
      fmt::format("  {}. varve restore SOURCE --target /new/folder --to latest \\\n           --repo '{}'\n",
                  encrypted() ? 4 : 3, printable(address));
  out +=
      "\nIf varve says that varve.json or the keys are missing or damaged: save this page\n"
      "as a text file and run\n\n";
  out += fmt::format("     varve key restore kit.txt --repo '{}'\n\n", printable(address));
  out +=
      "It puts back what follows. These lines are no secret by themselves, but whoever\n"
      "has them and a passphrase can read the repository: keep the two apart.\n\n";
  out += framed(kConfigKey, config_text_);
  for (const KeyObject& o : ring.keys) out += framed(key_key(o.id), o.text);
  return out;
}

Result<std::vector<store::Key>> Repository::restore_from_kit(const Context& ctx, store::Store& store,
                                                             std::string_view kit) {
  TRY_OK(crypto::init());
  if (kit.size() > kMaxKit) return fail(Code::kUsage, "this is no recovery kit: it is too long");
  TRY_ASSIGN(const auto frames, frames_of(kit));
  if (frames.empty()) return fail(Code::kUsage, "this is no recovery kit: it holds no objects");
  for (const auto& [name, text] : frames) TRY_OK(check_frame(name, text));

  std::vector<const std::pair<std::string, std::string>*> wanted;
  for (const auto& frame : frames) {
    TRY_ASSIGN(const bool write, must_write(ctx, store, frame.first, frame.second));
    if (write) wanted.push_back(&frame);
  }
  // varve.json last: with it, the repository is there.
  std::stable_partition(wanted.begin(), wanted.end(), [](const auto* f) { return f->first != kConfigKey; });
  std::vector<store::Key> out;
  for (const auto* frame : wanted) {
    TRY_OK(store::remove_one(store, ctx, frame->first));  // the damaged one, if any
    TRY_OK(store::put_bytes(store, ctx, frame->first, as_bytes(frame->second)));
    out.push_back(frame->first);
  }
  return out;
}

}  // namespace varve::repo
