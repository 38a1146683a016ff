#include "net/ssh_known_hosts.h"

#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace varve::net {
namespace {

using Verdict = KnownHosts::Verdict;

// Made by ssh-keygen, and its fingerprints shown by `ssh-keygen -l`.
constexpr const char* kEd = "AAAAC3NzaC1lZDI1NTE5AAAAIHFXorhLgdBFa9XcXkgAmrGUomGhp3kwPCTRTZRUbV65";
constexpr const char* kEd2 = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

Buffer blob(std::string_view type, std::string_view rest) {
  Buffer out(4);
  store_be(out.data(), static_cast<uint32_t>(type.size()));
  append(out, as_bytes(type));
  append(out, as_bytes(rest));
  return out;
}

std::string line(const std::string& hosts, const Buffer& key) {
  const std::string whole = known_hosts_line("x", 22, key);
  return hosts + whole.substr(1) + " a comment\n";
}

const Buffer kKey = blob("ssh-ed25519", "one"), kOther = blob("ssh-ed25519", "two"),
             kEcdsa = blob("ecdsa-sha2-nistp256", "three");

KnownHosts known(const std::string& text) {
  KnownHosts out;
  out.add(text, "file");
  return out;
}

TEST(KnownHosts, KeysAreNamedAsSshKeygenDoes) {
  KnownHosts hosts = known(fmt::format("h ssh-ed25519 {}\nh ssh-ed25519 {}\n", kEd, kEd2));
  EXPECT_EQ(hosts.size(), 2u);
  Buffer key = blob("ssh-ed25519", std::string("\0\0\0\x20", 4));
  for (int i = 0; i < 32; ++i) key.push_back(static_cast<std::byte>(i));
  EXPECT_EQ(hosts.check("h", 22, key).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("h", 22, key).place, "file:2");
  EXPECT_EQ(host_key_fingerprint(key), "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA");
  EXPECT_EQ(known_hosts_line("Host", 2022, key), fmt::format("[host]:2022 ssh-ed25519 {}", kEd2));
  EXPECT_EQ(host_key_type(key), "ssh-ed25519");
  EXPECT_EQ(host_key_type({}), "");
  EXPECT_EQ(host_key_type(blob("bad\nname", "")), "");
}

TEST(KnownHosts, ByNameAndPort) {
  const KnownHosts hosts = known(line("alpha,10.0.0.1", kKey) + line("[alpha]:2022", kOther));
  EXPECT_EQ(hosts.check("alpha", 22, kKey).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("ALPHA", 22, kKey).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("10.0.0.1", 22, kKey).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("10.0.0.2", 22, kKey).verdict, Verdict::kUnknown);
  EXPECT_EQ(hosts.check("alpha", 22, kOther).verdict, Verdict::kChanged);
  EXPECT_EQ(hosts.check("alpha", 22, kOther).place, "file:1");
  EXPECT_EQ(hosts.check("alpha", 2022, kOther).verdict, Verdict::kKnown);
  // Without the port it may be known as well; not being that one is no alarm.
  EXPECT_EQ(hosts.check("10.0.0.1", 2022, kKey).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("10.0.0.1", 2022, kOther).verdict, Verdict::kUnknown);
}

TEST(KnownHosts, SeveralKeysAndKinds) {
  const KnownHosts hosts = known(line("a", kEcdsa) + line("a", kKey) + line("a", kOther) + line("b", kOther));
  EXPECT_EQ(hosts.check("a", 22, kKey).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("a", 22, kOther).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("a", 22, blob("ssh-ed25519", "four")).verdict, Verdict::kChanged);
  EXPECT_EQ(hosts.types("a", 22), (std::vector<std::string>{"ecdsa-sha2-nistp256", "ssh-ed25519"}));
  EXPECT_EQ(hosts.types("b", 2022), std::vector<std::string>{"ssh-ed25519"});
  EXPECT_TRUE(hosts.types("c", 22).empty());
}

TEST(KnownHosts, PatternsNegatedAndNot) {
  const KnownHosts hosts = known(line("*.example.net,!bad.example.net", kKey) + line("h?st", kOther));
  EXPECT_EQ(hosts.check("a.example.net", 22, kKey).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("bad.example.net", 22, kKey).verdict, Verdict::kUnknown);
  EXPECT_EQ(hosts.check("example.net", 22, kKey).verdict, Verdict::kUnknown);
  EXPECT_EQ(hosts.check("host", 22, kOther).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("hst", 22, kOther).verdict, Verdict::kUnknown);
  // A pattern made to take for ever must not.
  const KnownHosts stars = known(line(std::string(2000, '*') + "z", kKey));
  EXPECT_EQ(stars.check(std::string(2000, 'a'), 22, kKey).verdict, Verdict::kUnknown);
}

// Written by `ssh-keygen -H` for the name "[127.0.0.1]:2022".
TEST(KnownHosts, HashedNames) {
  const KnownHosts hosts =
      known(line("|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|NKbo701uxe2f4aP+dgoYN1abI18=", kOther) +
            line("|1|7XXSChRLQLRH1lP8THfucTmhHa4=|NKbo701uxe2f4aP+dgoYN1abI18=", kKey));
  EXPECT_EQ(hosts.check("127.0.0.1", 2022, kKey).verdict, Verdict::kKnown);
  EXPECT_EQ(hosts.check("127.0.0.1", 2023, kKey).verdict, Verdict::kUnknown);
}

TEST(KnownHosts, RevokedKeysAreRefusedWhereverTheyStand) {
  const KnownHosts hosts = known(line("a", kKey) + line("@revoked *", kKey) + line("@revoked b", kOther));
  EXPECT_EQ(hosts.check("a", 22, kKey).verdict, Verdict::kRevoked);
  EXPECT_EQ(hosts.check("a", 22, kKey).place, "file:2");
  EXPECT_EQ(hosts.check("b", 22, kEcdsa).verdict, Verdict::kUnknown);
  EXPECT_EQ(hosts.types("a", 22), std::vector<std::string>{"ssh-ed25519"});
}

TEST(KnownHosts, WhatCannotBeReadIsLeftOut) {
  const std::string good = line("a", kKey);
  const KnownHosts hosts =
      known("# a comment\n\n   \n@cert-authority " + good + "a\na ssh-ed25519\na ssh-ed25519 !!!!\n" +
            "a ssh-rsa " + kEd + "\na ssh-ed25519 AAAA\n|1|x|y ssh-ed25519 " + kEd + "\n\t " + good +
            "a\tssh-ed25519\t" + kEd2 + "\r\n");
  EXPECT_EQ(hosts.size(), 3u);
  EXPECT_EQ(hosts.check("a", 22, kKey).place, "file:11");
}

TEST(KnownHosts, FilesThatAreAbsentAreEmpty) {
  char folder[] = "/tmp/varve-known-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string file = std::string(folder) + "/known_hosts";
  std::ofstream(file) << line("a", kKey);
  auto hosts = KnownHosts::read({std::string(folder) + "/absent", file, file + "/below"});
  ASSERT_TRUE(hosts) << hosts.error().describe();
  EXPECT_EQ(hosts->check("a", 22, kKey).place, file + ":1");
  EXPECT_FALSE(KnownHosts::read({folder})) << "a folder is no list";
  ::unlink(file.c_str());
  ::rmdir(folder);
}

}  // namespace
}  // namespace varve::net
