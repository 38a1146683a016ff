#include "repo/pin.h"

#include <fmt/format.h>

#include "repo/format.pb.h"
#include "repo/wire.h"

namespace varve::repo {
namespace {

Buffer encode(const PinInfo& pin) {
  format::Pin out;
  out.set_source(pin.source);
  out.set_what(utf8(pin.what));
  out.set_started_us(to_wire(pin.started));
  out.set_host(utf8(pin.process.host));
  out.set_boot(utf8(pin.process.boot));
  out.set_pid(pin.process.pid);
  out.set_process_started(pin.process.started);
  out.set_writer(pin.writer.hex());
  for (const std::string& id : pin.backups) out.add_backups(id);
  return serialize(out);
}

Result<PinInfo> decode(ByteView bytes, const store::Key& key) {
  format::Pin in;
  TRY_OK(parse(in, bytes, key));
  PinInfo pin;
  pin.source = in.source();
  pin.what = in.what();
  TRY_ASSIGN(pin.started, time_from_wire(in.started_us()));
  pin.process = {in.host(), in.boot(), in.pid(), in.process_started()};
  TRY_ASSIGN(pin.writer, WriterId::from_hex_text(in.writer()));
  pin.backups.assign(in.backups().begin(), in.backups().end());
  if (pin_key(pin.writer) != key)
    return fail(Code::kDamaged, fmt::format("{}: is another writer's pin", key));
  return pin;
}

}  // namespace

Result<Pin> Pin::take(std::shared_ptr<const Repository> repo, const Context& ctx, std::string source,
                      std::string what) {
  PinInfo info;
  info.source = std::move(source);
  info.what = std::move(what);
  info.started = now();
  info.process = os::self_identity();
  crypto::random_bytes(info.writer.bytes);
  TRY_OK(repo->put_object(ctx, "pin", pin_key(info.writer), encode(info)));
  return Pin(std::move(repo), std::move(info));
}

Result<> Pin::release(const Context& ctx) {
  if (released_) return {};
  TRY_OK(store::remove_one(repo_->store(), ctx, pin_key(info_.writer)));
  released_ = true;
  return {};
}

Result<> Pin::check_standing(const Context& ctx) const {
  TRY_ASSIGN(const bool there, store::exists(repo_->store(), ctx, pin_key(info_.writer)));
  if (there) return {};
  return fail(
      Code::kConflict,
      fmt::format("the pin of this {} was removed while it ran: a collection may have taken what it wrote",
                  info_.what),
      "run it again");
}

Result<std::vector<PinInfo>> list_pins(const Repository& repo, const Context& ctx) {
  std::vector<store::Key> keys;
  TRY_OK(store::for_each(repo.store(), ctx, std::string(kPinPrefix),
                         [&](const store::ObjectInfo& info) -> Result<> {
                           keys.push_back(info.key);
                           return {};
                         }));
  std::vector<PinInfo> out;
  for (const store::Key& key : keys) {
    auto bytes = repo.get_object(ctx, "pin", key);
    if (!bytes && bytes.error().code == Code::kNotFound) continue;  // released since it was listed
    if (!bytes) return fail(std::move(bytes).error());
    TRY_ASSIGN(PinInfo pin, decode(*bytes, key));
    out.push_back(std::move(pin));
  }
  return out;
}

}  // namespace varve::repo
