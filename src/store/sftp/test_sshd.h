// Further OpenSSH servers for tests, made from the folder that tests/services/sftp.py prepared: with other
// keys, other options, to be frozen and killed. Tests fail when the service is not there.
#pragma once

#include <arpa/inet.h>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <set>
#include <spawn.h>
#include <sstream>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "base/context.h"
#include "base/text.h"
#include "os/file.h"
#include "os/process.h"
#include "store/place.h"
#include "store/sftp/sftp_store.h"

extern char** environ;

namespace varve::store {

inline std::string test_environment(const char* name) {
  const char* value = std::getenv(name);
  EXPECT_NE(value, nullptr) << "run it by: tests/services/with.py sftp -- "
                            << "COMMAND";
  return value == nullptr ? "" : value;
}

// A program that runs beside the test and is ended with its owner.
class Child {
 public:
  explicit Child(std::vector<std::string> argv) {
    std::vector<char*> words;
    for (std::string& word : argv) words.push_back(word.data());
    words.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    EXPECT_EQ(::posix_spawn(&pid_, words[0], &actions, nullptr, words.data(), environ), 0) << words[0];
    ::posix_spawn_file_actions_destroy(&actions);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::kill(pid_, SIGCONT);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

inline uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

inline bool someone_listens(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  const bool connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return connected;
}

// The children of a process.
inline std::vector<pid_t> children_of(pid_t of) {
  std::vector<pid_t> out;
  const auto names = os::list_directory("/proc").value();
  for (const std::string& name : names) {
    std::ifstream file("/proc/" + name + "/stat");
    std::string text;
    if (name[0] < '0' || name[0] > '9' || !std::getline(file, text)) continue;
    std::istringstream rest(text.substr(text.rfind(')') + 1));
    std::string state;
    pid_t parent = 0;
    rest >> state >> parent;
    if (parent == of && state != "Z") out.push_back(std::stoi(name));
  }
  return out;
}

// The process that does what an SFTP client asks for: at the end of the line from a connection's.
inline pid_t sftp_server_of(pid_t session) {
  for (auto below = children_of(session); !below.empty(); below = children_of(session)) session = below[0];
  return session;
}

inline bool is_traced(pid_t pid) {
  for (int i = 0; i < 400; ++i) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("TracerPid:") && line.find_first_of("123456789") != line.npos) return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  return false;
}

class Sshd {
 public:
  // options: "RekeyLimit 1M"; in place of what the service's configuration says about the same.
  explicit Sshd(std::vector<std::string> options = {}) : folder_(test_environment("VARVE_TEST_SFTP_FOLDER")) {
    auto dir = os::TempDir::create("varve-sshd");
    EXPECT_TRUE(dir);
    dir_.emplace(std::move(*dir));
    EXPECT_TRUE(os::make_directories(data()));
    options_ = std::move(options);
    start();
    std::ofstream known(known_hosts());
    for (const char* key : {"host_ed25519", "host_ecdsa"})
      known << known_line(folder_ / (std::string(key) + ".pub"));
  }

  void start() {
    port_ = port_ == 0 ? free_port() : port_;
    write_config();
    server_.emplace(std::vector<std::string>{"/usr/sbin/sshd", "-D", "-f", config().native(), "-E",
                                             (dir_->path() / "log").native()});
    for (int i = 0; i < 400 && !someone_listens(port_); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    EXPECT_TRUE(someone_listens(port_)) << log();
  }
  void stop() {
    signal_sessions(SIGKILL);
    server_.reset();
  }

  uint16_t port() const { return port_; }
  os::Path dir() const { return dir_->path(); }
  os::Path data() const { return dir_->path() / "data"; }
  os::Path known_hosts() const { return dir_->path() / "known_hosts"; }
  os::Path user_key() const { return folder_ / "user"; }
  std::string known_line(const os::Path& public_key) const {
    std::ifstream file(public_key);
    std::string kind, key;
    file >> kind >> key;
    return fmt::format("[127.0.0.1]:{} {} {}\n", port_, kind, key);
  }
  std::string log() const {
    std::ifstream file(dir_->path() / "log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // As "sftp://…" takes it apart; tests change the settings before they open it.
  std::map<std::string, std::string> settings() const {
    return {
        {"identity_file", user_key().native()}, {"known_hosts", known_hosts().native()}, {"agent", "false"}};
  }
  Result<StorePtr> open(const std::map<std::string, std::string>& settings, bool create = true,
                        const Context& ctx = Context{}.with_deadline(std::chrono::seconds(30)),
                        const std::string& below = "") const {
    return SftpStore::open(ctx, place(settings, below), create);
  }
  Place place(const std::map<std::string, std::string>& settings, const std::string& below = "") const {
    const std::string user = parse_place(test_environment("VARVE_TEST_SFTP")).value().authority;
    Place out{"sftp", fmt::format("{}@127.0.0.1:{}", user.substr(0, user.find('@')), port_),
              data().native().substr(1) + below};
    for (const auto& [name, value] : settings) EXPECT_TRUE(out.settings.set(name, value));
    return out;
  }
  StorePtr must_open() const {
    auto store = open(settings());
    EXPECT_TRUE(store) << store.error().describe() << "\n" << log();
    return store.value_or(nullptr);
  }

  // The processes that serve the connections: children of the one that listens.
  std::vector<pid_t> sessions() const { return server_ ? children_of(server_->pid()) : std::vector<pid_t>(); }
  void signal_sessions(int signal) const {
    for (pid_t pid : sessions()) ::kill(pid, signal);
  }

 private:
  os::Path config() const { return dir_->path() / "sshd_config"; }
  void write_config() const {
    auto keyword = [](const std::string& line) { return line.substr(0, line.find(' ')); };
    std::set<std::string> ours = {"Port"};
    for (const std::string& option : options_) ours.insert(keyword(option));
    std::ofstream out(config());
    out << "Port " << port_ << "\n";
    for (const std::string& option : options_) out << option << "\n";
    std::ifstream base(folder_ / "sshd_config");
    for (std::string line; std::getline(base, line);) {
      if (!ours.contains(keyword(line))) out << line << "\n";
    }
  }

  const os::Path folder_;
  std::optional<os::TempDir> dir_;
  std::vector<std::string> options_;
  std::optional<Child> server_;
  uint16_t port_ = 0;
};

}  // namespace varve::store
