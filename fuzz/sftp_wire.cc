// What an SFTP server or an ssh-agent may answer.
#include "net/sftp_wire.h"

#include "fuzz.h"
#include "net/ssh_agent.h"

using namespace varve;

FUZZ_TARGET(input) {
  auto reply = net::parse_sftp_reply(to_buffer(input));
  FUZZ_CHECK(reply.has_value() == (input.size() >= 5));
  if (!reply) return;
  const ByteView body = reply->body();
  if (auto status = net::parse_sftp_status(body)) FUZZ_CHECK(status->words.size() <= 1000);
  if (auto handle = net::parse_sftp_handle(body)) FUZZ_CHECK(!handle->empty() && handle->size() <= 256);
  if (auto data = net::parse_sftp_data(body)) {
    FUZZ_CHECK(data->data() >= body.data() && data->data() + data->size() <= body.data() + body.size());
  }
  if (auto status = net::parse_sftp_attributes(body))
    FUZZ_CHECK(status->is_regular + status->is_directory + status->is_symlink <= 1);
  if (auto names = net::parse_sftp_names(body)) {
    FUZZ_CHECK(names->size() <= body.size());
    for (const auto& entry : *names) FUZZ_CHECK(entry.name.size() <= body.size());
  }
  if (auto extensions = net::parse_sftp_extensions(body)) FUZZ_CHECK(extensions->size() <= body.size());
  (void)net::parse_sftp_space(body);
  (void)net::parse_sftp_limits(body);
  if (auto keys = net::parse_agent_keys(input)) FUZZ_CHECK(keys->size() <= input.size());
  if (auto signature = net::parse_agent_signature(input, "ssh-ed25519"))
    FUZZ_CHECK(signature->size() <= input.size());
}
