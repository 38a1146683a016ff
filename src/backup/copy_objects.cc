#include "backup/copy_objects.h"

#include <algorithm>
#include <condition_variable>
#include <fmt/format.h>
#include <set>

#include "backup/verify_objects.h"
#include "base/log.h"
#include "base/task_group.h"
#include "base/text.h"
#include "repo/key_object.h"
#include "repo/pack.h"
#include "repo/retention.h"
#include "repo/sealed_json.h"

namespace varve::backup {
namespace {

constexpr unsigned kWorkers = 4;  // each holds an object
constexpr uint64_t kMostInFlight = uint64_t{128} << 20;
constexpr uint64_t kMostObject = uint64_t{1} << 30;  // no object of Varve's comes near
constexpr size_t kMostProblems = 1000;
constexpr size_t kUnsummed = 24;  // checksum and magic, at the end of a pack's footer

bool is_piece(std::string_view key) {
  return key.starts_with("sources/") && repo::parse_log_name(repo::last_segment(key)).has_value();
}

// What a commit locks when it is put. Manifests are locked once it is certain that they stay.
bool is_lasting(std::string_view key) {
  return key.starts_with("packs/") || key.starts_with(repo::kKeyPrefix) || key.starts_with("events/") ||
         is_piece(key);
}

// With the key: is this the object that was written under this name?
std::optional<std::string> pack_seal_flaw(const store::Key& key, ByteView bytes,
                                          const repo::PackFooter& footer, const repo::Repository& opened) {
  repo::PackSealer sealer(opened, footer.id);
  codec::Decompressor decompressor;
  Buffer plain(footer.index_plain);
  const repo::FrameInfo info{footer.index_offset,
                             footer.index_stored,
                             footer.index_plain,
                             repo::FrameKind::kIndex,
                             footer.index_codec,
                             0,
                             1};
  const ByteView sealed = bytes.subspan(footer.index_offset, footer.index_stored);
  if (!repo::decode_frame(sealer, decompressor, info, repo::PackSealer::kIndexNonce, sealed, plain))
    return "is whole, but was not made by this repository: it belongs to another, or is forged";
  if (auto index = repo::PackIndex::decode(plain, key, footer.index_offset); !index)
    return "holds another object: " + index.error().describe();
  return std::nullopt;
}

std::optional<std::string> pack_flaw(const store::Key& key, ByteView bytes, const repo::Config& config,
                                     const repo::Repository* opened) {
  if (bytes.size() < repo::kPackHeaderSize + repo::kPackFooterSize) return "is too short to be whole";
  const auto footer = repo::parse_footer(bytes.last(repo::kPackFooterSize), bytes.size());
  if (!footer) return footer.error().message;
  if (codec::checksum(bytes.first(bytes.size() - kUnsummed)) != footer->checksum)
    return "its checksum does not match its bytes";
  if (footer->encryption != config.encryption) return "is not sealed as this repository's objects are";
  if (const auto id = repo::pack_from_key(key); id && *id != footer->id) return "is another pack";
  return opened == nullptr ? std::nullopt : pack_seal_flaw(key, bytes, *footer, *opened);
}

std::optional<std::string> kind_under(std::string_view key) {
  if (auto kind = kind_of(key)) return kind;
  if (!key.starts_with("sources/")) return std::nullopt;
  if (repo::last_segment(key).starts_with("mark-")) return "log-mark";
  return key.find("/backups/") != key.npos ? std::optional<std::string>("manifest") : std::nullopt;
}

}  // namespace

std::optional<std::string> flaw_of(const store::Key& key, ByteView bytes, const repo::Config& config,
                                   const repo::Repository* opened) {
  if (key.starts_with(repo::kKeyPrefix)) {
    const auto id = std::string_view(key).substr(repo::kKeyPrefix.size());
    const auto object = repo::parse_key_object(id, as_text(bytes));
    if (!object) return object.error().message;
    return std::nullopt;
  }
  if (key.starts_with("packs/") || is_piece(key)) return pack_flaw(key, bytes, config, opened);
  if (!repo::Repository::object_is_intact(bytes)) return "its checksum does not match its content";
  const auto kind = kind_under(key);
  if (opened == nullptr || !kind) return std::nullopt;
  const auto plain = opened->open_object(*kind, key, bytes);
  return plain ? std::nullopt : std::optional(plain.error().message);
}

Timestamp locked_until(Seconds retain) {
  return now() + retain + repo::retention_slack(retain);
}

// Who may put when, and how many bytes are under way. Room is given in the order of the items, so that those
// who wait for their turn cannot keep it from the one whose turn it is.
class Transfer::Turns {
 public:
  Result<> take_room(const Context& ctx, uint64_t bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, ctx.stop, [&] { return in_flight_ == 0 || in_flight_ + bytes <= kMostInFlight; });
    TRY_OK(ctx.check());
    in_flight_ += bytes;
    return {};
  }
  Result<> wait_for(const Context& ctx, size_t item) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, ctx.stop, [&] { return next_ == item; });
    return ctx.check();
  }
  void finished(size_t item, uint64_t bytes) {
    std::lock_guard lock(mutex_);
    in_flight_ -= bytes;
    ended_.insert(item);
    for (; !ended_.empty() && *ended_.begin() == next_; ++next_) ended_.erase(ended_.begin());
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  uint64_t in_flight_ = 0;
  size_t next_ = 0;
  std::set<size_t> ended_;
};

Transfer::Transfer(store::StorePtr from, store::StorePtr to, const repo::Config& config,
                   const CopyOptions& options, Progress& progress, CopyReport& report)
    : from_(std::move(from)),
      to_(std::move(to)),
      config_(config),
      options_(options),
      progress_(progress),
      report_(report) {}

void Transfer::problem(CopyProblem p) {
  std::lock_guard lock(mutex_);
  log::debug("{} at {}: {}", p.object, p.at, p.message);
  if (report_.problems.size() < kMostProblems) report_.problems.push_back(std::move(p));
}

Result<> Transfer::run(const Context& ctx, std::vector<CopyItem>& items, bool ordered, const Done& done) {
  Turns turns;
  std::mutex pick, tell;
  size_t next = 0;
  const auto work = [&](const std::stop_token& stop) -> Result<> {
    Context mine = ctx;
    mine.stop = stop;
    while (true) {
      std::unique_lock picking(pick);
      if (next == items.size()) return {};
      const size_t i = next;
      CopyItem& item = items[i];
      const uint64_t room = item.compare ? item.size * 2 : item.size;
      TRY_OK(turns.take_room(mine, room));
      ++next;
      picking.unlock();
      auto outcome =
          copy(mine, item, [&]() -> Result<> { return ordered ? turns.wait_for(mine, i) : Result<>(); });
      turns.finished(i, room);
      if (!outcome) return fail(std::move(outcome).error());
      progress_.done_bytes += item.size;
      ++progress_.done_items;
      std::lock_guard telling(tell);
      done(i, *outcome);
    }
  };
  const size_t workers = std::min<size_t>(options_.workers ? options_.workers : kWorkers, items.size());
  if (workers <= 1) return work(ctx.stop);
  TaskGroup group(ctx.stop);
  for (size_t w = 0; w < workers; ++w) group.spawn(work);
  return group.wait();
}

std::optional<std::string> Transfer::flaw(const CopyItem& item, ByteView bytes) const {
  if (bytes.size() != item.size && !item.compare)
    return fmt::format("has {} bytes, and was listed with {}", bytes.size(), item.size);
  auto out = flaw_of(item.key, bytes, config_, options_.opened.get());
  if (!out && item.checksum) {
    const ByteView sum = bytes.last(kUnsummed).first(item.checksum->size());
    if (!std::equal(sum.begin(), sum.end(), item.checksum->begin()))
      return "is another pack than the one that its backup wrote";
  }
  return out;
}

// A bad sector or a wrong permission concerns one object; a lost disk or an expired credential all of them.
Result<bool> Transfer::concerns_object(const Context& ctx, store::Store& store, const Error& error) const {
  if (error.code == Code::kDamaged || error.code == Code::kNotFound) return true;
  if (error.code != Code::kDenied && error.code != Code::kIo) return false;
  const auto there = store.head(ctx, std::string(repo::kConfigKey));
  return there.has_value() || there.error().code == Code::kNotFound;
}

Result<std::optional<Buffer>> Transfer::read(const Context& ctx, store::Store& store, const CopyItem& item,
                                             Outcome& outcome) {
  if (item.size > kMostObject) {
    problem({item.key, "damaged", store.describe(),
             fmt::format("has {}, more than any object of Varve's", human_size(item.size))});
    outcome = Outcome::kProblem;
    return std::nullopt;
  }
  Buffer bytes;
  bytes.reserve(item.size);
  auto got = store.get(ctx, item.key, {}, [&](ByteView part) -> Result<> {
    if (bytes.size() + part.size() > kMostObject)
      return fail(Code::kDamaged, "is larger than any object of Varve's");
    append(bytes, part);
    return {};
  });
  if (got && *got == bytes.size()) return bytes;
  Error error = got ? Error{Code::kUnreachable, fmt::format("{} sent {} of {} bytes of {}", store.describe(),
                                                            bytes.size(), *got, item.key)}
                    : std::move(got).error();
  if (error.code == Code::kNotFound) {
    outcome = Outcome::kVanished;
    return std::nullopt;
  }
  TRY_ASSIGN(const bool of_object, concerns_object(ctx, store, error));
  if (!of_object) return fail(std::move(error).with_context("while reading " + item.key));
  problem({item.key, error.code == Code::kDamaged ? "damaged" : "unreadable", store.describe(),
           error.describe()});
  outcome = Outcome::kProblem;
  return std::nullopt;
}

Result<Transfer::Outcome> Transfer::copy(const Context& ctx, CopyItem& item,
                                         const std::function<Result<>()>& turn) {
  Outcome outcome = Outcome::kThere;
  std::optional<Buffer> bytes = std::move(item.content);
  if (!bytes) {
    TRY_ASSIGN(bytes, read(ctx, *from_, item, outcome));
  }
  if (!bytes) return outcome;
  const auto wrong = flaw(item, *bytes);
  if (item.compare) return compare(ctx, item, *bytes, wrong);
  if (wrong) {
    problem({item.key, "damaged", from_->describe(), *wrong});
    return Outcome::kProblem;
  }
  TRY_OK(turn());
  return put(ctx, item, *bytes, false);
}

// What both have: the one that is sound is told from the one that is not.
Result<Transfer::Outcome> Transfer::compare(const Context& ctx, const CopyItem& item, ByteView source,
                                            const std::optional<std::string>& flaw_at_source) {
  Outcome outcome = Outcome::kThere;
  TRY_ASSIGN(const auto target, read(ctx, *to_, item, outcome));
  if (!target && outcome == Outcome::kVanished)
    return flaw_at_source ? Outcome::kVanished : put(ctx, item, source, false);
  const bool equal = target && same_bytes(source, *target);
  const auto flaw_at_target = !target ? std::optional<std::string>("cannot be read") : flaw(item, *target);
  if (flaw_at_source)
    problem({item.key, "damaged", from_->describe(),
             fmt::format("{}{}", *flaw_at_source,
                         flaw_at_target ? "" : fmt::format("; it is sound at {}", to_->describe()))});
  if (equal && !flaw_at_source) {
    std::lock_guard lock(mutex_);
    ++report_.present;
    return Outcome::kThere;
  }
  if (!flaw_at_target) {
    if (!flaw_at_source)
      problem({item.key, "differs", to_->describe(),
               fmt::format("is sound, and another object than the one at {}", from_->describe())});
    return flaw_at_source ? Outcome::kThere : Outcome::kProblem;
  }
  if (!flaw_at_source && options_.repair) {
    TRY_ASSIGN(outcome, put(ctx, item, source, true));
    std::lock_guard lock(mutex_);
    report_.repaired += outcome == Outcome::kThere;
    return outcome;
  }
  if (target)  // else it was told when it was read
    problem({item.key, "damaged", to_->describe(),
             fmt::format("{}{}", *flaw_at_target,
                         flaw_at_source ? "" : "; it is sound at the original: --repair replaces it")});
  return Outcome::kProblem;
}

Result<Transfer::Outcome> Transfer::put(const Context& ctx, const CopyItem& item, ByteView bytes,
                                        bool replace) {
  store::PutOptions how;
  how.mode = replace ? store::PutMode::kUnconditional : store::PutMode::kCreateOnly;
  if (options_.retain && is_lasting(item.key)) how.retain_until = locked_until(*options_.retain);
  auto stored = store::put_bytes(*to_, ctx, item.key, bytes, how);
  if (!stored && stored.error().code == Code::kExists) {  // another copy was quicker
    CopyItem both = item;
    both.compare = true;
    return compare(ctx, both, bytes, std::nullopt);
  }
  if (!stored) return fail(std::move(stored).error().with_context("while writing " + item.key));
  progress_.stored_bytes += bytes.size();

  std::optional<std::string> wrong;
  if (options_.trust_store) {
    TRY_ASSIGN(const auto info, to_->head(ctx, item.key));
    if (info.size != bytes.size())
      wrong = fmt::format("has {} bytes in place of {}", info.size, bytes.size());
  } else {
    uint64_t at = 0;
    bool same = true;
    TRY_OK(to_->get(ctx, item.key, {}, [&](ByteView part) -> Result<> {
      same = same && part.size() <= bytes.size() - at &&
             same_bytes(part, ByteView(bytes).subspan(at, part.size()));
      at += part.size();
      return {};
    }));
    if (!same || at != bytes.size()) wrong = "what the store gives back is not what was sent";
  }
  if (wrong) {
    // It must not pass for a good one at the next run.
    auto removed = store::remove_one(*to_, ctx, item.key);
    if (!removed) *wrong += fmt::format("; and it could not be removed: {}", removed.error().describe());
    problem({item.key, "damaged", to_->describe(), *wrong});
    return Outcome::kProblem;
  }
  std::lock_guard lock(mutex_);
  ++report_.objects;
  report_.bytes += bytes.size();
  return Outcome::kThere;
}

}  // namespace varve::backup
