#include "store/s3/remove.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/task_group.h"
#include "base/text.h"
#include "store/cloud/answer.h"
#include "store/s3/integrity.h"
#include "store/s3/retention.h"

namespace varve::store::s3 {
namespace {

constexpr size_t kBatch = 1000;  // DeleteObjects takes no more
constexpr size_t kWorkers = 8;   // where each name costs a request of its own

// A name, or one version of it, that is to go.
struct Doomed {
  size_t at;  // which of the keys asked for
  std::string key, version;
};

class Removal {
 public:
  Removal(Client& client, const Context& ctx, std::span<const Key> keys) : client_(client), ctx_(ctx) {
    for (const Key& key : keys) results_.push_back({key, check_key(key)});
  }

  Result<std::vector<RemoveResult>> run(Versioning& versioning) {
    std::vector<size_t> fit;
    for (size_t i = 0; i < results_.size(); ++i)
      if (results_[i].result) fit.push_back(i);
    if (fit.empty()) return std::move(results_);
    bool versions = false;
    if (!client_.options().keep_versions) {
      TRY_ASSIGN(versions, versioning.ask(client_, ctx_));
    }
    if (versions) {
      TRY_OK(in_parallel(fit, [this](size_t i) { find_versions(i); }));
    } else {
      for (const size_t i : fit) doomed_.push_back({i, full(i), ""});
    }
    if (client_.options().quirks.batch_delete) {
      for (size_t begin = 0; begin < doomed_.size(); begin += kBatch)
        TRY_OK(remove_batch(std::span(doomed_).subspan(begin, std::min(kBatch, doomed_.size() - begin))));
    } else {
      std::vector<size_t> all(doomed_.size());
      for (size_t i = 0; i < all.size(); ++i) all[i] = i;
      TRY_OK(in_parallel(all, [this](size_t i) { remove_single(doomed_[i]); }));
    }
    return std::move(results_);
  }

 private:
  std::string full(size_t i) const { return client_.options().prefix + results_[i].key; }

  // The first failure of a key is its result.
  void failed(size_t i, Error error) {
    std::lock_guard lock(mutex_);
    if (results_[i].result) results_[i].result = fail(std::move(error));
  }

  template <typename Work>
  Result<> in_parallel(const std::vector<size_t>& items, const Work& work) {
    TaskGroup group(ctx_.stop);
    std::atomic<size_t> next = 0;
    for (size_t w = 0; w < std::min(kWorkers, items.size()); ++w) {
      group.spawn([&](std::stop_token) -> Result<> {
        for (size_t n; (n = next++) < items.size();) {
          TRY_OK(ctx_.check());
          work(items[n]);
        }
        return {};
      });
    }
    return group.wait();
  }

  void find_versions(size_t i) {
    auto found = versions_of(client_, ctx_, full(i));
    if (!found) return failed(i, std::move(found).error());
    std::lock_guard lock(mutex_);
    // The oldest first: whoever looks meanwhile, or after a failure, sees the newest or nothing, but not an
    // old one.
    for (auto v = found->rbegin(); v != found->rend(); ++v) doomed_.push_back({i, v->key, v->version});
  }

  Result<> remove_batch(std::span<const Doomed> batch) {
    std::string xml = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    std::multimap<std::pair<std::string, std::string>, const Doomed*> open;
    for (const Doomed& d : batch) {
      const bool again = open.contains({d.key, d.version});
      open.emplace(std::pair(d.key, d.version), &d);
      if (again) continue;
      xml += "<Object><Key>" + xml_escaped(d.key) + "</Key>";
      if (!d.version.empty()) xml += "<VersionId>" + xml_escaped(d.version) + "</VersionId>";
      xml += "</Object>";
    }
    xml += "</Delete>";
    const ByteView body = as_bytes(xml);
    Call call{.method = "POST",
              .query = {{"delete", ""}},
              .headers = {{"Content-Type", "application/xml"}},
              .body = Body(&body, 1),
              .doing = fmt::format("removing {} objects from {}", batch.size(), client_.describe())};
    add_md5(call.body, &call.headers);
    TRY_ASSIGN(const auto answer, client_.demand(ctx_, call));
    auto said = parse_delete(answer.body);
    // An <Error> in an answer that began as a success.
    if (const auto error = parse_error(answer.body))
      return fail(client_.refusal(error->code, error->message, call.doing));
    if (!said) return fail(cloud::nonsense(answer, call.doing, said.error().message));
    for (const DeleteAnswer::One& one : said->each) {
      const auto [begin, end] = open.equal_range({one.key, one.version});
      for (auto it = begin; it != end; ++it)
        if (!one.code.empty()) refuse(*it->second, one.code, one.message);
      open.erase(begin, end);
    }
    for (const auto& [name, d] : open) {
      failed(d->at, Error{Code::kUnreachable, client_.doing("removing", results_[d->at].key, "from") +
                                                  ": the store did not say what became of it"}
                        .with_retry(Retry::kTransient));
    }
    return {};
  }

  void remove_single(const Doomed& d) {
    Call call{
        .method = "DELETE", .key = d.key, .doing = client_.doing("removing", results_[d.at].key, "from")};
    if (!d.version.empty()) call.query.emplace_back("versionId", d.version);
    auto answer = client_.send(ctx_, call);
    if (!answer) return failed(d.at, std::move(answer).error());
    if (answer->status / 100 == 2) return;
    Error refusal = client_.refusal(*answer, call.doing);
    if (refusal.code != Code::kNotFound) failed(d.at, std::move(refusal));
  }

  void refuse(const Doomed& d, const std::string& code, const std::string& message) {
    if (code == "NoSuchKey" || code == "NoSuchVersion") return;
    Error error = client_.refusal(code, message, client_.doing("removing", results_[d.at].key, "from"));
    // The same word for a missing permission and for a lock: the object itself tells.
    if (error.code == Code::kDenied && !d.version.empty()) {
      auto locked = lock_of(client_, ctx_, results_[d.at].key, d.version);
      if (locked && *locked) error = Error{Code::kConflict, **locked};
    }
    failed(d.at, std::move(error));
  }

  Client& client_;
  const Context& ctx_;
  std::mutex mutex_;
  std::vector<RemoveResult> results_;
  std::vector<Doomed> doomed_;
};

}  // namespace

Result<std::vector<RemoveResult>> remove_objects(Client& client, Versioning& versioning, const Context& ctx,
                                                 std::span<const Key> keys) {
  return Removal(client, ctx, keys).run(versioning);
}

}  // namespace varve::store::s3
