// Large objects: blocks, several at a time, then the list that makes a blob of them.
#include <algorithm>
#include <fmt/format.h>

#include "base/task_group.h"
#include "crypto/crypto.h"
#include "crypto/signing.h"
#include "store/azure/answers.h"
#include "store/azure/azure_store.h"
#include "store/azure/reading.h"
#include "store/cloud/answer.h"

namespace varve::store {
namespace {

constexpr uint64_t kMostBlocks = 50'000;

struct Block {
  std::string id;
  std::vector<ByteView> body;
};

// Blocks of one name are shared by all who write it: two writers that called theirs "1" and "2" could commit
// a blob of both. So each put calls its own by a random word; and all names have one length, as they must.
std::vector<Block> cut(Body body, uint64_t block_size) {
  const auto word = crypto::random_array<12>();
  std::vector<Block> out;
  uint64_t room = 0;
  for (ByteView rest : body) {
    while (!rest.empty()) {
      if (room == 0) {
        std::array<std::byte, 16> id{};
        std::copy(word.begin(), word.end(), id.begin());
        store_be(id.data() + word.size(), static_cast<uint32_t>(out.size()));
        out.push_back({crypto::to_base64(id), {}});
        room = block_size;
      }
      const ByteView part = rest.first(static_cast<size_t>(std::min<uint64_t>(rest.size(), room)));
      out.back().body.push_back(part);
      rest = rest.subspan(part.size());
      room -= part.size();
    }
  }
  return out;
}

}  // namespace

Result<> AzureStore::put_block(const Context& ctx, const Key& key, const std::string& id, Body body,
                               const std::string& what) {
  const azure::Request request{.method = "PUT",
                               .blob = name_of(key),
                               .query = {{"comp", "block"}, {"blockid", id}},
                               .headers = {{"Content-Type", "application/octet-stream"},
                                           {"Content-MD5", crypto::to_base64(crypto::md5(body))}},
                               .body = body};
  TRY_ASSIGN(const auto answer, client_->send(ctx, request, what));
  if (answer.status != 201) return fail(client_->failure(answer, what));
  if (!azure::is_from_service(answer))
    return fail(cloud::nonsense(answer, what, "it has no x-ms-request-id"));
  return {};
}

Result<> AzureStore::put_blocks(const Context& ctx, const Key& key, Body body, uint64_t size,
                                const PutOptions& options) {
  const std::string what = doing("writing", key, "to");
  const auto is_taken = [&]() -> Result<> {
    auto info = azure::look(*client_, ctx, {name_of(key)}, what);
    if (info) return fail(Code::kExists, fmt::format("{} exists already in {}", key, describe()));
    if (info.error().code == Code::kNotFound) return {};
    return fail(std::move(info).error());
  };
  // The condition holds for the list only: all blocks would go over the line for nothing.
  if (options.mode == PutMode::kCreateOnly) TRY_OK(is_taken());

  const uint64_t block_size = std::max(writing_.block_size, (size + kMostBlocks - 1) / kMostBlocks);
  const std::vector<Block> blocks = cut(body, block_size);
  std::atomic<size_t> next = 0;
  TaskGroup group(ctx.stop);
  for (uint64_t i = 0; i < std::min<uint64_t>(writing_.parallel_blocks, blocks.size()); ++i) {
    group.spawn([&](const std::stop_token& stop) -> Result<> {
      Context own = ctx;
      own.stop = stop;
      for (size_t at = next++; at < blocks.size(); at = next++)
        TRY_OK(put_block(own, key, blocks[at].id, blocks[at].body, what));
      return {};
    });
  }
  TRY_OK(group.wait());
  TRY_OK(ctx.check());

  std::string xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>";
  for (const Block& block : blocks) xml += "<Uncommitted>" + block.id + "</Uncommitted>";
  xml += "</BlockList>";
  const ByteView list = as_bytes(xml);
  azure::Request request{.method = "PUT",
                         .blob = name_of(key),
                         .query = {{"comp", "blocklist"}},
                         .headers = headers_of_new(options),
                         .body = Body(&list, 1)};
  request.headers.push_back({"Content-Type", "application/xml"});
  request.headers.push_back({"Content-MD5", crypto::to_base64(crypto::md5(request.body))});
  request.headers.push_back({"x-ms-blob-content-type", "application/octet-stream"});
  TRY_ASSIGN(const auto answer, client_->send(ctx, request, what));
  // Whoever commits a blob drops the blocks of all others. So these are lost when another has just won; or
  // when what another wrote has been removed again: then a new try may win.
  const std::string code = azure::words_of(answer).code;
  if (answer.status == 400 && (code == "InvalidBlockList" || code == "InvalidBlobOrBlock")) {
    if (options.mode == PutMode::kCreateOnly) TRY_OK(is_taken());
    return fail(client_->failure(answer, what).with_retry(Retry::kTransient));
  }
  return put_answered(answer, key, options, what);
}

}  // namespace varve::store
