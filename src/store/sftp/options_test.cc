#include "store/sftp/options.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>

#include "os/file.h"

namespace varve::store::sftp {
namespace {

Result<Options> read(const std::string& address) {
  auto place = parse_place(address);
  if (!place) return fail(std::move(place).error());
  TRY_OK(place->settings.check(sftp_settings()));
  return read_options(*place);
}

std::string refused(const std::string& address) {
  auto options = read(address);
  if (options) return "<taken>";
  EXPECT_EQ(options.error().code, Code::kUsage) << address;
  return options.error().describe() + " | " + options.error().hint;
}

TEST(SftpOptions, HostUserAndPort) {
  const Options o = read("sftp://backup@host.example/srv/backups").value();
  EXPECT_EQ(o.ssh.host, "host.example");
  EXPECT_EQ(o.ssh.user, "backup");
  EXPECT_EQ(o.ssh.port, 22);
  EXPECT_EQ(o.folder, "/srv/backups");
  EXPECT_EQ(o.address, "sftp://backup@host.example/srv/backups");
  EXPECT_EQ(o.connections, 4u);
  EXPECT_EQ(o.ssh.stalled_after, std::chrono::seconds(30));

  const Options six = read("sftp://a@b@[2001:db8::1]:2022/x?connections=9").value();
  EXPECT_EQ(six.ssh.host, "2001:db8::1");
  EXPECT_EQ(six.ssh.user, "a@b");
  EXPECT_EQ(six.ssh.port, 2022);
  EXPECT_EQ(six.connections, 9u);
  EXPECT_EQ(six.address, "sftp://a@b@[2001:db8::1]:2022/x");
  EXPECT_EQ(read("sftp://[::1]/x")->ssh.port, 22);
  EXPECT_EQ(read("sftp://host/x?user=u")->ssh.user, "u");
  EXPECT_EQ(read("sftp://v@host/x?user=u")->ssh.user, "v") << "the address wins";
  EXPECT_FALSE(read("sftp://host/x")->ssh.user.empty()) << "who runs it";
}

TEST(SftpOptions, Folders) {
  EXPECT_EQ(read("sftp://u@h/~/backups/a")->folder, "backups/a");
  EXPECT_EQ(read("sftp://u@h/~")->folder, ".");
  EXPECT_EQ(read("sftp://u@h/")->folder, "/");
  EXPECT_EQ(read("sftp://u@h")->folder, "/");
  EXPECT_EQ(read("sftp://u@h/a%20b")->folder, "/a b");
  EXPECT_EQ(read("sftp://u@h/~user")->folder, "/~user");
  refused("sftp://u@h/a/../b");
}

TEST(SftpOptions, WhatIsRefused) {
  for (const char* address :
       {"sftp://u@h:/x", "sftp://u@h:0/x", "sftp://u@h:65536/x", "sftp://u@h:2x/x",
        "sftp://u@h:99999999999/x", "sftp://u@::1/x", "sftp://u@[::1/x", "sftp://u@[::1]x/x", "sftp://u@/x",
        "sftp://u@-oProxyCommand=x/x", "sftp://u@a b/x", "sftp://u@h/x?connections=0",
        "sftp://u@h/x?connections=65", "sftp://u@h/x?connect_timeout=soon", "sftp://u@h/x?stall_timeout=2d",
        "sftp://u@h/x?agent=perhaps", "sftp://u@h/x?host_key_fingerprint=MD5:aa", "sftp://u@h/x?password=x"})
    EXPECT_NE(refused(address), "<taken>") << address;
}

TEST(SftpOptions, APasswordIsNeverRepeated) {
  const std::string said = refused("sftp://backup:hunter2@host/x");
  EXPECT_NE(said.find("password"), std::string::npos);
  EXPECT_EQ(said.find("hunter2"), std::string::npos);
}

TEST(SftpOptions, KeysAndServers) {
  const char* home = std::getenv("HOME");
  const std::string before = home == nullptr ? "" : home;
  ::setenv("HOME", "/home/me", 1);
  ::setenv("SSH_AUTH_SOCK", "/run/agent", 1);
  Options o = read("sftp://u@h/x").value();
  EXPECT_EQ(o.ssh.identity, "");
  EXPECT_EQ(o.ssh.other_identities,
            (std::vector<std::string>{"/home/me/.ssh/id_ed25519", "/home/me/.ssh/id_ecdsa",
                                      "/home/me/.ssh/id_rsa"}));
  EXPECT_EQ(o.ssh.known_hosts,
            (std::vector<std::string>{"/home/me/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"}));
  EXPECT_EQ(o.ssh.agent_socket, "/run/agent");
  EXPECT_FALSE(o.ssh.passphrase);
  const std::string pin = "SHA256:" + std::string(43, 'a');
  o = read("sftp://u@h/x?identity_file=~/key&known_hosts=/k&agent=no&host_key_fingerprint=" + pin + ",%20" +
           pin + "=&stall_timeout=5s&connect_timeout=1m")
          .value();
  EXPECT_EQ(o.ssh.identity, "/home/me/key");
  EXPECT_EQ(o.ssh.known_hosts, std::vector<std::string>{"/k"});
  EXPECT_EQ(o.ssh.agent_socket, "");
  EXPECT_EQ(o.ssh.fingerprints, (std::vector<std::string>{pin, pin}));
  EXPECT_EQ(o.ssh.stalled_after, std::chrono::seconds(5));
  EXPECT_EQ(o.ssh.connect_within, std::chrono::minutes(1));
  ::setenv("HOME", before.c_str(), 1);
  ::unsetenv("SSH_AUTH_SOCK");
}

TEST(SftpOptions, PassphrasesComeFromAFile) {
  auto dir = os::TempDir::create("varve-sftp").value();
  const std::string file = (dir.path() / "pass").native();
  std::ofstream(file) << "correct horse\nsecond line\n";
  const Options o = read("sftp://u@h/x?identity_passphrase_file=" + file).value();
  ASSERT_TRUE(o.ssh.passphrase);
  EXPECT_EQ(o.ssh.passphrase().value(), "correct horse");
  std::ofstream(file) << "";
  EXPECT_EQ(o.ssh.passphrase().value(), "") << "read anew each time";
  EXPECT_FALSE(read("sftp://u@h/x?identity_passphrase_file=/absent")->ssh.passphrase());
}

}  // namespace
}  // namespace varve::store::sftp
