// Where an sftp: address leads, and what its settings say.
#pragma once

#include <span>

#include "net/ssh.h"
#include "store/place.h"

namespace varve::store::sftp {

std::span<const Setting> sftp_settings();

struct Options {
  net::SshOptions ssh;
  std::string folder;      // absolute, or relative to the home of the login when it does not begin with '/'
  size_t connections = 4;  // at most, at once
  std::string address;     // "sftp://user@host/folder", as describe() shows it
};

// Reads the place without touching the network. kUsage says what is wrong; a password in the address is
// refused and not repeated.
Result<Options> read_options(const Place& place);

}  // namespace varve::store::sftp
