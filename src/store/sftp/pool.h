// Connections to one server, lent to one thread each.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "net/sftp.h"

namespace varve::store::sftp {

// Thread-safe. Opens connections as they are needed, at most so many; who finds none waits. One that broke is
// closed when it comes back; one that lay idle is looked at before it is lent, so that a server that was
// restarted, or a firewall that forgot us, costs a new connection and no error.
class Pool {
 public:
  Pool(net::SshOptions options, size_t most) : options_(std::move(options)), most_(most) {}

  // Gives the connection back when it goes away.
  class Lease {
   public:
    Lease(Pool& pool, std::unique_ptr<net::Sftp> sftp) : pool_(&pool), sftp_(std::move(sftp)) {}
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (sftp_) pool_->give_back(std::move(sftp_));
    }
    net::Sftp& operator*() const { return *sftp_; }
    net::Sftp* operator->() const { return sftp_.get(); }

   private:
    Pool* pool_;
    std::unique_ptr<net::Sftp> sftp_;
  };
  Result<Lease> take(const Context& ctx);

 private:
  struct Idle {
    std::unique_ptr<net::Sftp> sftp;
    SteadyClock::time_point since;
  };
  void give_back(std::unique_ptr<net::Sftp> sftp);
  void one_less();
  // Whether it can be lent: by a look when it was used just now, by a question when it lay longer.
  static bool good(const Context& ctx, Idle& idle);

  const net::SshOptions options_;
  const size_t most_;
  std::mutex mutex_;
  std::condition_variable_any came_back_;
  std::vector<Idle> idle_;
  size_t open_ = 0;  // idle and lent
};

}  // namespace varve::store::sftp
