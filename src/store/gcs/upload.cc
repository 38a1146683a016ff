#include "store/gcs/upload.h"

#include <fmt/format.h>

#include "crypto/crypto.h"
#include "store/cloud/answer.h"

namespace varve::store::gcs {
namespace {

Result<ObjectAnswer> object_in(const net::HttpResponse& answer, const std::string& doing) {
  auto object = parse_object(as_text(answer.body));
  if (!object) return fail(cloud::nonsense(answer, doing, object.error().message));
  return object;
}

}  // namespace

Result<ObjectAnswer> upload_at_once(Api& api, const Context& ctx, const Upload& upload) {
  // 128 random bits are in no body that did not know them.
  const std::string boundary = "varve-" + to_hex(crypto::random_array<16>());
  const std::string head = fmt::format(
      "--{0}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{1}\r\n"
      "--{0}\r\nContent-Type: application/octet-stream\r\n\r\n",
      boundary, upload.metadata);
  const std::string tail = fmt::format("\r\n--{}--\r\n", boundary);
  std::vector<ByteView> pieces = {as_bytes(head)};
  pieces.insert(pieces.end(), upload.body.begin(), upload.body.end());
  pieces.push_back(as_bytes(tail));

  net::HttpRequest request;
  request.method = "POST";
  request.url =
      api.upload_url(Query(upload.query).add("uploadType", "multipart").add("fields", kObjectFields));
  request.headers = {{"Content-Type", "multipart/related; boundary=" + boundary}};
  request.body = pieces;
  TRY_ASSIGN(const auto answer, api.send(ctx, std::move(request)));
  if (answer.status != 200) return fail(api.error_of(answer, upload.doing));
  return object_in(answer, upload.doing);
}

}  // namespace varve::store::gcs
