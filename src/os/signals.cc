#include "os/signals.h"

#include <pthread.h>
#include <signal.h>
#include <thread>

namespace varve::os {

// A thread waits for the signals instead of a handler catching them: request_stop() runs callbacks and takes
// locks, which a handler must not.
std::stop_token install_stop_signals() {
  static std::stop_source source;
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction old = {};
    // What the parent chose to ignore stays ignored: nohup, and shells that start jobs in the background.
    if (::sigaction(signal, nullptr, &old) == 0 && old.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread([set] {
    int signal = 0;
    if (::sigwait(&set, &signal) != 0) return;
    source.request_stop();
    if (::sigwait(&set, &signal) != 0) return;
    // End as the signal would have ended us, so that the parent sees why.
    ::signal(signal, SIG_DFL);
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    ::raise(signal);
  }).detach();
  return source.get_token();
}

}  // namespace varve::os
