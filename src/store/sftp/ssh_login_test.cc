// Who the server is and who we are, against real servers and a real ssh-agent.
#include <sys/stat.h>

#include "net/ssh_known_hosts.h"
#include "store/sftp/test_sshd.h"

namespace varve::store {
namespace {

using namespace std::chrono_literals;
using SettingMap = std::map<std::string, std::string>;

void keygen(const os::Path& file, const std::string& kind, const std::string& passphrase = "") {
  auto made = os::run(Context{}.with_deadline(30s), {"/usr/bin/ssh-keygen", "-q", "-t", kind, "-N",
                                                     passphrase, "-C", "test", "-f", file.native()});
  ASSERT_TRUE(made && made->exit_code == 0) << (made ? made->err : made.error().describe());
}

std::string text_of(const os::Path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

class SshLogin : public ::testing::Test {
 protected:
  // What opening says; empty when it lets us in, and then a put works.
  std::string open(const SettingMap& settings, Code expected = Code::kDenied) {
    const auto begin = SteadyClock::now();
    auto store = sshd_.open(settings);
    took_ = SteadyClock::now() - begin;
    if (store) {
      auto put =
          put_bytes(**store, Context{}.with_deadline(30s), fmt::format("k{}", ++serial_), as_bytes("x"));
      EXPECT_TRUE(put) << put.error().describe();
      return "";
    }
    EXPECT_EQ(code_name(store.error().code), code_name(expected)) << store.error().describe();
    EXPECT_EQ(store.error().retry, Retry::kNever);
    return store.error().describe() + " | " + store.error().hint;
  }
  SettingMap with(std::initializer_list<std::pair<const std::string, std::string>> changes) {
    SettingMap out = sshd_.settings();
    for (const auto& [name, value] : changes) out[name] = value;
    return out;
  }
  std::string host_line(const char* key) {
    return sshd_.known_line(os::Path(test_environment("VARVE_TEST_SFTP_FOLDER")) / key);
  }
  void know(const std::string& lines) { std::ofstream(sshd_.known_hosts()) << lines; }
  os::Path file(const char* name) { return sshd_.dir() / name; }

  Sshd sshd_;
  int serial_ = 0;
  SteadyClock::duration took_{};
};

TEST_F(SshLogin, AKnownServerAndAKnownKey) {
  EXPECT_EQ(open(sshd_.settings()), "");
}

TEST_F(SshLogin, AnUnknownServerIsRefusedWithWhatMakesItKnown) {
  know("");
  const std::string said = open(sshd_.settings());
  EXPECT_NE(said.find("not a known server"), std::string::npos) << said;
  auto shown = os::run({}, {"/usr/bin/ssh-keygen", "-l", "-f",
                            test_environment("VARVE_TEST_SFTP_FOLDER") + "/host_ed25519.pub"});
  ASSERT_TRUE(shown);
  const std::string print(split(as_text(shown->out), ' ')[1]);
  EXPECT_TRUE(print.starts_with("SHA256:"));
  EXPECT_NE(said.find(print), std::string::npos) << said;
  EXPECT_NE(said.find("ssh-keyscan -p " + std::to_string(sshd_.port())), std::string::npos) << said;
  EXPECT_NE(said.find(sshd_.known_hosts().native()), std::string::npos) << said;
  // The line that it tells is the right one.
  const size_t line = said.find("[127.0.0.1]:");
  ASSERT_NE(line, std::string::npos) << said;
  know(said.substr(line) + "\n");
  EXPECT_EQ(open(sshd_.settings()), "");
  know("");
  EXPECT_NE(open(with({{"known_hosts", "/nonexistent"}})), "") << "an absent file is no licence";
}

TEST_F(SshLogin, AServerWhoseKeyChangedIsRefusedLoudly) {
  keygen(file("other"), "ed25519");
  know(sshd_.known_line(file("other.pub")));
  const std::string said = open(sshd_.settings());
  EXPECT_NE(said.find("HAS CHANGED"), std::string::npos) << said;
  EXPECT_NE(said.find(sshd_.known_hosts().native() + ":1"), std::string::npos) << said;
  // Known by one kind of key, and showing another, is no better.
  Sshd ecdsa_only({"HostKey " + test_environment("VARVE_TEST_SFTP_FOLDER") + "/host_ecdsa"});
  std::ofstream(ecdsa_only.known_hosts())
      << ecdsa_only.known_line(os::Path(test_environment("VARVE_TEST_SFTP_FOLDER")) / "host_ed25519.pub");
  auto store = ecdsa_only.open(ecdsa_only.settings());
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("HAS CHANGED"), std::string::npos) << store.error().describe();
}

TEST_F(SshLogin, AServerIsAskedForTheKeyItIsKnownBy) {
  know(host_line("host_ecdsa.pub"));
  EXPECT_EQ(open(sshd_.settings()), "");
  know(host_line("host_ed25519.pub"));
  EXPECT_EQ(open(sshd_.settings()), "");
}

TEST_F(SshLogin, HashedNamesAndRevokedKeys) {
  auto hashed = os::run({}, {"/usr/bin/ssh-keygen", "-q", "-H", "-f", sshd_.known_hosts().native()});
  ASSERT_TRUE(hashed && hashed->exit_code == 0);
  EXPECT_EQ(text_of(sshd_.known_hosts()).find("127.0.0.1"), std::string::npos);
  EXPECT_EQ(open(sshd_.settings()), "");
  know(host_line("host_ed25519.pub") + "@revoked " + host_line("host_ed25519.pub"));
  EXPECT_NE(open(sshd_.settings()).find("revoked"), std::string::npos);
}

TEST_F(SshLogin, PinsTakeThePlaceOfFiles) {
  std::istringstream key(host_line("host_ed25519.pub"));
  std::string host, kind, base64;
  key >> host >> kind >> base64;
  net::KnownHosts none;
  auto shown = os::run({}, {"/usr/bin/ssh-keygen", "-l", "-f",
                            test_environment("VARVE_TEST_SFTP_FOLDER") + "/host_ed25519.pub"});
  const std::string print(split(as_text(shown->out), ' ')[1]);
  know("");
  EXPECT_EQ(open(with({{"host_key_fingerprint", print}})), "");
  know(host_line("host_ed25519.pub"));
  const std::string wrong = "SHA256:" + std::string(43, 'A');
  const std::string said = open(with({{"host_key_fingerprint", wrong}}));
  EXPECT_NE(said.find(print), std::string::npos) << "what it shows is told: " << said;
  EXPECT_EQ(open(with({{"host_key_fingerprint", wrong + "," + print}})), "");
}

TEST_F(SshLogin, AKeyThatTheServerDoesNotKnow) {
  keygen(file("stranger"), "ed25519");
  const std::string said = open(with({{"identity_file", file("stranger").native()}}));
  EXPECT_NE(said.find("does not let us in"), std::string::npos) << said;
  EXPECT_NE(said.find(file("stranger").native()), std::string::npos) << said;
  EXPECT_NE(said.find("authorized_keys"), std::string::npos) << said;
}

TEST_F(SshLogin, KeyFilesThatWillNotDo) {
  EXPECT_NE(open(with({{"identity_file", "/nonexistent/key"}}), Code::kUsage).find("/nonexistent/key"),
            std::string::npos);
  keygen(file("open"), "ed25519");
  ::chmod(file("open").c_str(), 0644);
  EXPECT_NE(open(with({{"identity_file", file("open").native()}})).find("chmod 600"), std::string::npos);
  std::ofstream(file("garbage"))
      << "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
  ::chmod(file("garbage").c_str(), 0600);
  EXPECT_NE(open(with({{"identity_file", file("garbage").native()}})).find("cannot use the private key"),
            std::string::npos);
}

TEST_F(SshLogin, OtherKindsOfKeys) {
  keygen(file("ecdsa"), "ecdsa");
  Sshd sshd({"AuthorizedKeysFile " + file("ecdsa.pub").native()});
  SettingMap settings = sshd.settings();
  settings["identity_file"] = file("ecdsa").native();
  auto store = sshd.open(settings);
  EXPECT_TRUE(store) << store.error().describe();
}

TEST_F(SshLogin, EncryptedKeys) {
  keygen(file("locked"), "ed25519", "correct horse");
  Sshd sshd({"AuthorizedKeysFile " + file("locked.pub").native()});
  SettingMap settings = sshd.settings();
  settings["identity_file"] = file("locked").native();
  auto attempt = [&] {
    auto store = sshd.open(settings);
    return store ? std::string() : store.error().describe() + " | " + store.error().hint;
  };
  EXPECT_NE(attempt().find("identity_passphrase_file"), std::string::npos) << attempt();
  settings["identity_passphrase_file"] = file("pass").native();
  EXPECT_NE(attempt().find("identity_passphrase_file"), std::string::npos) << "absent: " << attempt();
  std::ofstream(file("pass")) << "wrong donkey\n";
  const std::string said = attempt();
  EXPECT_NE(said.find("passphrase"), std::string::npos) << said;
  EXPECT_EQ(said.find("donkey"), std::string::npos) << said;
  std::ofstream(file("pass")) << "correct horse\n";
  EXPECT_EQ(attempt(), "");
}

class SshAgentLogin : public SshLogin {
 protected:
  void SetUp() override {
    const std::string socket = file("agent").native();
    agent_.emplace(std::vector<std::string>{"/usr/bin/ssh-agent", "-D", "-a", socket});
    for (int i = 0; i < 400 && ::access(socket.c_str(), F_OK) != 0; ++i) std::this_thread::sleep_for(25ms);
    ::setenv("SSH_AUTH_SOCK", socket.c_str(), 1);
    ::setenv("HOME", sshd_.dir().c_str(), 1);  // no keys of this machine's user
    settings_ = sshd_.settings();
    settings_.erase("identity_file");
    settings_["agent"] = "true";
  }
  void TearDown() override { ::unsetenv("SSH_AUTH_SOCK"); }
  void add(const os::Path& key) {
    auto added = os::run(Context{}.with_deadline(30s), {"/usr/bin/ssh-add", "-q", key.native()});
    ASSERT_TRUE(added && added->exit_code == 0) << (added ? added->err : added.error().describe());
  }
  std::optional<Child> agent_;
  SettingMap settings_;
};

TEST_F(SshAgentLogin, TheAgentsKeysAreUsed) {
  EXPECT_NE(open(settings_).find("no key to show"), std::string::npos);
  keygen(file("stranger"), "ed25519");
  add(file("stranger"));
  add(sshd_.user_key());
  EXPECT_EQ(open(settings_), "");
  settings_["agent"] = "false";
  EXPECT_NE(open(settings_), "");
}

TEST_F(SshAgentLogin, AServerThatHasHadEnoughOfOurKeys) {
  for (int i = 0; i < 8; ++i) {
    const std::string name = fmt::format("key{}", i);
    keygen(file(name.c_str()), "ed25519");
    add(file(name.c_str()));
  }
  add(sshd_.user_key());
  const std::string said = open(settings_);
  // Whether the last refusal or the end of the connection is seen first is up to the network.
  EXPECT_TRUE(said.find("hung up") != said.npos || said.find("does not let us in") != said.npos) << said;
  EXPECT_NE(said.find("identity_file"), std::string::npos) << said;
}

TEST_F(SshAgentLogin, ANamedKeyIsTheOnlyOneThatIsTried) {
  add(sshd_.user_key());
  keygen(file("stranger"), "ed25519");
  settings_["identity_file"] = file("stranger").native();
  const std::string said = open(settings_);
  EXPECT_NE(said.find("does not let us in"), std::string::npos) << said;
  EXPECT_EQ(said.find("ssh-agent"), std::string::npos) << said;
  // Encrypted on the disk, and open in the agent: the public key beside it says which it is.
  auto copied = os::read_file(sshd_.user_key().native() + ".pub", 4096);
  ASSERT_TRUE(copied && os::replace_file(file("elsewhere.pub"), *copied));
  settings_["identity_file"] = file("elsewhere").native();
  EXPECT_EQ(open(settings_), "");
}

TEST_F(SshAgentLogin, AnAgentThatIsGoneOrHangs) {
  settings_["identity_file"] = "";
  auto copied = os::read_file(sshd_.user_key(), 4096);
  ASSERT_TRUE(os::make_directories(sshd_.dir() / ".ssh"));
  ASSERT_TRUE(copied && os::replace_file(sshd_.dir() / ".ssh/id_ed25519", *copied, 0600));
  ::setenv("SSH_AUTH_SOCK", "/nonexistent/agent", 1);
  EXPECT_EQ(open(settings_), "") << "a file does as well";
  ::setenv("SSH_AUTH_SOCK", file("agent").c_str(), 1);
  ::kill(agent_->pid(), SIGSTOP);
  std::stop_source stop;
  Context ctx = Context{}.with_deadline(20s);
  ctx.stop = stop.get_token();
  SteadyClock::time_point asked;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(700ms);
    asked = SteadyClock::now();
    stop.request_stop();
  });
  auto store = sshd_.open(settings_, true, ctx);
  const auto late = SteadyClock::now() - asked;
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kInterrupted) << store.error().describe();
  EXPECT_LT(late, 1s);
}

// A server that takes the connection and says nothing.
TEST(SshConnect, SilentAndAbsentServers) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd, 5), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const Place place{"sftp", fmt::format("u@127.0.0.1:{}", ntohs(address.sin_port)), "x", {}};
  sftp::Options options = sftp::read_options(place).value();
  options.ssh.connect_within = 500ms;
  const auto begin = SteadyClock::now();
  auto silent = net::Sftp::connect({}, options.ssh);
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().code, Code::kUnreachable);
  EXPECT_EQ(silent.error().retry, Retry::kTransient) << silent.error().describe();
  EXPECT_LT(SteadyClock::now() - begin, 3s);
  options.ssh.connect_within = 20s;
  auto late = net::Sftp::connect(Context{}.with_deadline(300ms), options.ssh);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().retry, Retry::kNever) << "the caller's own deadline: " << late.error().describe();
  EXPECT_LT(SteadyClock::now() - begin, 6s);
  ::close(fd);
  auto absent = net::Sftp::connect({}, options.ssh);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().retry, Retry::kTransient) << absent.error().describe();
  options.ssh.host = "no-such-host.invalid";
  auto unknown = net::Sftp::connect(Context{}.with_deadline(30s), options.ssh);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kUnreachable);
}

}  // namespace
}  // namespace varve::store
