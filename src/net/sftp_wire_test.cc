#include "net/sftp_wire.h"

#include <gtest/gtest.h>

#include "net/ssh_agent.h"

namespace varve::net {
namespace {

// Big-endian fields, one after the other: int is 32 bits, uint64_t 64, text a string with its length.
struct Fields {
  Buffer bytes;
  Fields& u32(uint32_t v) {
    std::byte b[4];
    store_be(b, v);
    append(bytes, b);
    return *this;
  }
  Fields& u64(uint64_t v) {
    std::byte b[8];
    store_be(b, v);
    append(bytes, b);
    return *this;
  }
  Fields& text(std::string_view t) {
    u32(static_cast<uint32_t>(t.size()));
    append(bytes, as_bytes(t));
    return *this;
  }
  Fields& byte(uint8_t v) {
    bytes.push_back(static_cast<std::byte>(v));
    return *this;
  }
};

// However it is cut, a parser says so and reads nothing beyond.
template <typename Parse>
void expect_whole_only(const Buffer& bytes, const Parse& parse) {
  EXPECT_TRUE(parse(ByteView(bytes)));
  for (size_t n = 0; n < bytes.size(); ++n) {
    const Buffer cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    EXPECT_FALSE(parse(ByteView(cut))) << "cut to " << n;
  }
}

TEST(SftpWire, RequestsAsTheProtocolHasThem) {
  SftpRequest r(SftpType::kOpen, 7);
  r.string("/a").u32(1).u64(2).bytes(as_bytes("xy"));
  EXPECT_EQ(to_hex(r.finish()),
            "0000001903000000070000000"
            "22f6100000001"
            "0000000000000002"
            "7879");
}

TEST(SftpWire, Attributes) {
  const Buffer all = Fields()
                         .u32(0x8000000f)
                         .u64(5'000'000'000)
                         .u32(1)
                         .u32(2)
                         .u32(0100400)
                         .u32(3)
                         .u32(4)
                         .u32(1)
                         .text("a")
                         .text("b")
                         .bytes;
  expect_whole_only(all, [](ByteView b) { return parse_sftp_attributes(b); });
  const auto s = parse_sftp_attributes(all).value();
  EXPECT_EQ(s.size, 5'000'000'000u);
  EXPECT_EQ(s.modified, 4u);
  EXPECT_TRUE(s.is_regular && s.has_type && !s.is_directory && !s.is_symlink);
  EXPECT_TRUE(parse_sftp_attributes(Fields().u32(4).u32(0040700).bytes)->is_directory);
  EXPECT_TRUE(parse_sftp_attributes(Fields().u32(4).u32(0120777).bytes)->is_symlink);
  EXPECT_FALSE(parse_sftp_attributes(Fields().u32(0).bytes)->has_type);
  EXPECT_FALSE(parse_sftp_attributes(Fields().u32(0x80000000).u32(0xffffffff).bytes));
}

TEST(SftpWire, Names) {
  const Buffer two =
      Fields().u32(2).text("a").text("-rw a").u32(4).u32(0100400).text("b").text("").u32(0).bytes;
  expect_whole_only(two, [](ByteView b) { return parse_sftp_names(b); });
  const auto names = parse_sftp_names(two).value();
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(names[0].name, "a");
  EXPECT_TRUE(names[0].status.is_regular);
  EXPECT_EQ(names[1].name, "b");
  EXPECT_FALSE(parse_sftp_names(Fields().u32(0xffffffff).text("a").bytes)) << "asks for memory";
}

TEST(SftpWire, Statuses) {
  const auto told = parse_sftp_status(Fields().u32(4).text("Fail\x1b[31mure").text("en").bytes).value();
  EXPECT_EQ(told.code, SftpCode::kFailure);
  EXPECT_EQ(told.words.find('\x1b'), std::string::npos) << "no escape sequence reaches a terminal";
  EXPECT_EQ(parse_sftp_status(Fields().u32(2).bytes)->code, SftpCode::kNoSuchFile) << "without words";
  EXPECT_LE(parse_sftp_status(Fields().u32(4).text(std::string(100'000, 'x')).bytes)->words.size(), 200u);
  EXPECT_FALSE(parse_sftp_status(Fields().byte(0).bytes));
}

TEST(SftpWire, TheRest) {
  expect_whole_only(Fields().text("handle").bytes, [](ByteView b) { return parse_sftp_handle(b); });
  EXPECT_FALSE(parse_sftp_handle(Fields().text("").bytes));
  EXPECT_FALSE(parse_sftp_handle(Fields().text(std::string(257, 'h')).bytes));
  expect_whole_only(Fields().text("data").bytes, [](ByteView b) { return parse_sftp_data(b); });
  const Buffer limits = Fields().u64(1).u64(2).u64(3).u64(4).bytes;
  expect_whole_only(limits, [](ByteView b) { return parse_sftp_limits(b); });
  EXPECT_EQ(parse_sftp_limits(limits)->write, 3u);
  Fields space;
  for (uint64_t v : {4096u, 1024u, 100u, 50u, 10u, 0u, 0u, 0u, 77u, 0u, 255u}) space.u64(v);
  expect_whole_only(space.bytes, [](ByteView b) { return parse_sftp_space(b); });
  EXPECT_EQ(parse_sftp_space(space.bytes)->available, 10u * 1024);
  EXPECT_EQ(parse_sftp_space(space.bytes)->file_system, 77u);
  Fields huge;
  for (int i = 0; i < 11; ++i) huge.u64(UINT64_MAX);
  EXPECT_EQ(parse_sftp_space(huge.bytes)->available, UINT64_MAX);
  EXPECT_EQ(parse_sftp_extensions({})->size(), 0u);
  const auto extensions =
      parse_sftp_extensions(Fields().text("a@b").text("1").text("c").text("").bytes).value();
  ASSERT_EQ(extensions.size(), 2u);
  EXPECT_EQ(extensions[0].name, "a@b");
  EXPECT_EQ(extensions[0].data, "1");
  EXPECT_FALSE(parse_sftp_extensions(Fields().text("a").bytes));
  EXPECT_FALSE(parse_sftp_reply(Fields().u32(5).bytes));
  EXPECT_EQ(parse_sftp_reply(Fields().byte(101).u32(5).bytes)->id, 5u);
}

TEST(SshAgentWire, Keys) {
  const std::string blob(as_text(Fields().text("ssh-ed25519").text("x").bytes));
  const Buffer two = Fields().byte(12).u32(2).text(blob).text("mine").text("no key").text("?").bytes;
  expect_whole_only(two, [](ByteView b) { return parse_agent_keys(b); });
  const auto keys = parse_agent_keys(two).value();
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(keys[0].comment, "mine");
  EXPECT_FALSE(parse_agent_keys(Fields().byte(5).bytes)) << "refused";
  EXPECT_FALSE(parse_agent_keys(Fields().byte(12).u32(0xffffffff).bytes));
}

TEST(SshAgentWire, Signatures) {
  const std::string inner(as_text(Fields().text("ssh-ed25519").text("SIGNATURE").bytes));
  const Buffer whole = Fields().byte(14).text(inner).bytes;
  expect_whole_only(whole, [](ByteView b) { return parse_agent_signature(b, "ssh-ed25519"); });
  EXPECT_EQ(as_text(*parse_agent_signature(whole, "ssh-ed25519")), "SIGNATURE");
  EXPECT_FALSE(parse_agent_signature(whole, "rsa-sha2-512")) << "by another algorithm";
  EXPECT_EQ(parse_agent_signature(Fields().byte(5).bytes, "x").error().code, Code::kDenied);
}

}  // namespace
}  // namespace varve::net
