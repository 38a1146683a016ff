// A repository with backups to collect, for tests.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "repo/collection_plan.h"
#include "repo/format.pb.h"
#include "repo/wire.h"
#include "repo/writer_for_test.h"

namespace varve::repo {

inline constexpr CollectOptions kAtOnce{.grace = Seconds(0)};

class CollectTest : public testing::Test {
 protected:
  TestRepository t{Encryption::kNone};

  TestWriter writer() { return std::move(*TestWriter::begin(t.repo)); }
  // A pack that nobody needs, of a writer that is done.
  PackId orphan() {
    TestWriter w = writer();
    const PackId id = *w.write_pack();
    EXPECT_TRUE(w.pin.release({}));
    return id;
  }
  PackId backup(const std::string& id) {
    TestWriter w = writer();
    const PackId pack = *w.write_pack();
    auto m = w.commit(id, {pack});
    EXPECT_TRUE(m) << m.error().describe();
    return pack;
  }
  void expire(const std::string& id) { ASSERT_TRUE(store::remove_one(*t.mem, {}, manifest_key("app", id))); }
  CollectReport run(const CollectOptions& options = kAtOnce) {
    auto r = collect(*t.repo, {}, options);
    EXPECT_TRUE(r) << r.error().describe();
    return r ? *r : CollectReport{};
  }
  bool there(const PackId& id) { return pack_is_there(*t.mem, id); }
  // A pin as of `age` ago, of a process on another host.
  WriterId foreign_pin(Seconds age) {
    WriterId id;
    crypto::random_bytes(id.bytes);
    format::Pin pin;
    pin.set_writer(id.hex());
    pin.set_host("elsewhere");
    pin.set_started_us(to_wire(now() - age));
    EXPECT_TRUE(t.repo->put_object({}, "pin", pin_key(id), serialize(pin)));
    return id;
  }
};

}  // namespace varve::repo
