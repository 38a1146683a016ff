#include <gtest/gtest.h>

#include "repo/repository_for_test.h"
#include "repo/sealer.h"

namespace varve::repo {
namespace {

class Envelope : public testing::TestWithParam<Encryption> {
 protected:
  // The checksum that tells accidents, made to fit again: what a forger without the key would do.
  static Buffer with_checksum(Buffer object) {
    object.resize(object.size() - sizeof(codec::Checksum));
    append(object, codec::checksum(object));
    return object;
  }
  TestRepository t{GetParam()};
  const store::Key key = "sources/app/backups/b1";
};
INSTANTIATE_TEST_SUITE_P(All, Envelope, testing::Values(Encryption::kNone, Encryption::kAes256Gcm),
                         [](const auto& p) { return p.param == Encryption::kNone ? "Plain" : "Encrypted"; });

TEST_P(Envelope, ComesBackAtEverySize) {
  for (size_t size : {0, 1, 15, 16, 1000, 300000}) {
    Buffer plain(size);
    for (size_t i = 0; i < size; ++i) plain[i] = static_cast<std::byte>(i * i >> 3);
    const store::Key name = "events/" + std::to_string(size);
    ASSERT_TRUE(t.repo->put_object({}, "event", name, plain));
    auto back = t.repo->get_object({}, "event", name);
    ASSERT_TRUE(back) << back.error().describe();
    EXPECT_EQ(*back, plain);
    EXPECT_EQ(t.repo->put_object({}, "event", name, plain).error().code, Code::kExists);
  }
  EXPECT_EQ(t.repo->get_object({}, "event", "events/none").error().code, Code::kNotFound);
}

TEST_P(Envelope, AnyChangedBitIsDamage) {
  const Buffer sealed = *t.repo->seal_object("manifest", key, as_bytes("what was written, written, written"));
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    Buffer bad = sealed;
    bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    auto accident = t.repo->open_object("manifest", key, bad);
    ASSERT_FALSE(accident) << "bit " << bit;
    EXPECT_EQ(accident.error().code, Code::kDamaged);
    EXPECT_NE(accident.error().message.find(key), std::string::npos) << accident.error().message;
    if (bit / 8 >= sealed.size() - sizeof(codec::Checksum)) continue;
    auto forgery = t.repo->open_object("manifest", key, with_checksum(bad));
    ASSERT_FALSE(forgery) << "bit " << bit;
    EXPECT_EQ(forgery.error().code, Code::kDamaged);
  }
}

TEST_P(Envelope, AnyOtherLengthIsDamage) {
  const Buffer sealed = *t.repo->seal_object("manifest", key, as_bytes("content"));
  for (size_t length = 0; length < sealed.size(); ++length) {
    auto cut = t.repo->open_object("manifest", key, ByteView(sealed).first(length));
    ASSERT_FALSE(cut) << length;
    EXPECT_EQ(cut.error().code, Code::kDamaged);
  }
  Buffer longer = sealed;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(t.repo->open_object("manifest", key, longer));
  EXPECT_FALSE(t.repo->open_object("manifest", key, with_checksum(longer)));
}

TEST_P(Envelope, BelongsToItsNameItsKindAndItsRepository) {
  const Buffer sealed = *t.repo->seal_object("manifest", key, as_bytes("content"));
  EXPECT_TRUE(t.repo->open_object("manifest", key, sealed));
  EXPECT_FALSE(t.repo->open_object("manifest", "sources/app/backups/b2", sealed))
      << "replayed under a new name";
  EXPECT_FALSE(t.repo->open_object("pin", key, sealed)) << "passed off as something else";
  // The border between kind and name is part of what is bound.
  EXPECT_FALSE(t.repo->open_object("manifests", store::Key(key).substr(1), sealed));
  const TestRepository other(GetParam());
  auto foreign = other.repo->open_object("manifest", key, sealed);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, Code::kDamaged);
  EXPECT_NE(foreign.error().message.find("another repository"), std::string::npos);
}

TEST_P(Envelope, TwoObjectsExchangedAreFound) {
  ASSERT_TRUE(t.repo->put_object({}, "pin", "pins/a", as_bytes("a")));
  ASSERT_TRUE(t.repo->put_object({}, "pin", "pins/b", as_bytes("b")));
  const Buffer a = t.bytes("pins/a"), b = t.bytes("pins/b");
  t.overwrite("pins/a", b);
  t.overwrite("pins/b", a);
  EXPECT_EQ(t.repo->get_object({}, "pin", "pins/a").error().code, Code::kDamaged);
  EXPECT_EQ(t.repo->get_object({}, "pin", "pins/b").error().code, Code::kDamaged);
}

TEST_P(Envelope, AnImpossibleSizeIsRefusedBeforeMemoryIsTaken) {
  Buffer sealed = *t.repo->seal_object("pin", "pins/a", as_bytes("a"));
  store_le(sealed.data() + 12, uint32_t{0xffffffff});
  auto r = t.repo->open_object("pin", "pins/a", with_checksum(sealed));
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().message.find("larger"), std::string::npos) << r.error().message;
}

TEST_P(Envelope, SealingTwiceGivesTwoObjects) {
  EXPECT_NE(*t.repo->seal_object("pin", "pins/a", as_bytes("a")),
            *t.repo->seal_object("pin", "pins/a", as_bytes("a")));
}

TEST(EnvelopeEncryption, HidesWhatItHolds) {
  TestRepository hidden, open(Encryption::kNone);
  const std::string secret = "the quick brown fox";
  const auto holds = [&](const TestRepository& t) {
    const Buffer sealed = *t.repo->seal_object("pin", "pins/a", as_bytes(secret));
    return as_text(sealed).find(secret) != std::string_view::npos;
  };
  EXPECT_FALSE(holds(hidden));
  EXPECT_TRUE(holds(open));
}

TEST(SealerTest, InPlaceAndBoundToNonceAndPlace) {
  for (Encryption e : {Encryption::kNone, Encryption::kAes256Gcm}) {
    Sealer sealer(e, crypto::SecretKey::random());
    Buffer room = to_buffer(as_bytes("some pages of a database"));
    const Buffer plain = room;
    room.resize(plain.size() + Sealer::kOverhead);
    ASSERT_TRUE(sealer.seal(7, as_bytes("place"), ByteView(room).first(plain.size()), room));
    const Buffer sealed = room;
    Buffer out(plain.size());
    EXPECT_FALSE(sealer.open(8, as_bytes("place"), sealed, out));
    EXPECT_TRUE(all_zero(out)) << "nothing unproven is given out";
    EXPECT_FALSE(sealer.open(7, as_bytes("plac"), sealed, out));
    EXPECT_FALSE(sealer.open(7, as_bytes("place"), ByteView(sealed).first(5), MutableBytes(out).first(0)));
    ASSERT_TRUE(sealer.open(7, as_bytes("place"), room, MutableBytes(room).first(plain.size())));
    EXPECT_TRUE(std::equal(plain.begin(), plain.end(), room.begin()));
  }
}

}  // namespace
}  // namespace varve::repo
