// A known_hosts file, which anything may have written into.
#include "fuzz.h"
#include "net/ssh_known_hosts.h"

using namespace varve;

FUZZ_TARGET(input) {
  // The first line is a host, the rest the file.
  const std::string_view text = as_text(input);
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view host = text.substr(0, end);
  net::KnownHosts hosts;
  hosts.add(text.substr(std::min(end + 1, text.size())), "file");
  for (const uint16_t port : {uint16_t{22}, uint16_t{2022}}) {
    const auto types = hosts.types(host, port);
    FUZZ_CHECK(types.size() <= hosts.size());
    for (const std::string& type : types) FUZZ_CHECK(!type.empty());
    const auto answer = hosts.check(host, port, input);
    FUZZ_CHECK(answer.place.empty() == (answer.verdict == net::KnownHosts::Verdict::kUnknown));
  }
  // What it would tell to add is understood when it is read back.
  if (!net::host_key_type(input).empty() && input.size() < 4096) {
    net::KnownHosts again;
    again.add(net::known_hosts_line("host", 2022, input), "file");
    FUZZ_CHECK(again.check("host", 2022, input).verdict == net::KnownHosts::Verdict::kKnown);
  }
}
