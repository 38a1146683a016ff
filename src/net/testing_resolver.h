// Stands before the system's resolver in the test's binary: names under .test do what their first part says.
#pragma once

#include <chrono>
#include <dlfcn.h>
#include <netdb.h>
#include <string_view>
#include <thread>

// "away.test": no name server can be asked. "slow.test": three seconds, then the same.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** found) {
  using Real = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  const std::string_view host = name == nullptr ? "" : name;
  if (host == "slow.test") std::this_thread::sleep_for(std::chrono::seconds(3));
  if (host == "slow.test" || host == "away.test") return EAI_AGAIN;
  if (host == "unknown.test") return EAI_NONAME;
  static const auto real = reinterpret_cast<Real>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(name, service, hints, found);
}
