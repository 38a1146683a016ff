// Log pieces: an object under a piece's name as somebody may have put it, then its head, sealed as a
// follower would, so that what is behind the seal is reached too.
#include "repo/log_piece.h"

#include "fuzz.h"
#include "repo/repository.h"
#include "store/mem/mem_store.h"

using namespace varve;

namespace {

repo::RepositoryPtr new_repository(const std::shared_ptr<store::MemStore>& store) {
  auto repo = repo::Repository::create({}, store, {}, {repo::Encryption::kNone});
  FUZZ_CHECK(repo);
  return *repo;
}

void read_piece(const std::shared_ptr<store::MemStore>& store, const repo::RepositoryPtr& repo,
                ByteView bytes) {
  const store::Key key = repo::log_piece_key("app", "e1", 1, 2);
  FUZZ_CHECK(store::put_bytes(*store, {}, key, bytes, {store::PutMode::kUnconditional, {}}));
  auto piece = repo::LogPiece::open(repo, {}, key, bytes.size());
  if (!piece) {
    FUZZ_CHECK(piece.error().code == Code::kDamaged);
    return;
  }
  uint32_t next = 0;
  auto read = piece->read({}, {}, [&](uint32_t slot, ByteView page) -> Result<> {
    FUZZ_CHECK(slot == next++ && page.size() == piece->slot_size(slot));
    return {};
  });
  FUZZ_CHECK(read ? next == piece->slots() : read.error().code == Code::kDamaged);
}

// What no follower would write under this name: its head says something else.
Buffer sealed_piece(const repo::Repository& repo, ByteView head, ByteView pages) {
  const repo::PackId id{};
  repo::PackSealer sealer(repo, id);
  codec::Compressor compressor({});
  codec::Decompressor decompressor;
  repo::PackAssembler assembler;
  uint64_t number = 0;
  for (auto [kind, plain] :
       {std::pair(repo::FrameKind::kLogHead, head), std::pair(repo::FrameKind::kLogPages, pages)}) {
    auto frame = repo::encode_frame(sealer, compressor, decompressor, number++, kind, plain);
    FUZZ_CHECK(frame);
    assembler.add(kind, static_cast<uint32_t>(plain.size()), {static_cast<uint32_t>(plain.size())}, {},
                  std::move(*frame));
  }
  FUZZ_CHECK(assembler.finish(repo, id, repo::log_piece_key("app", "e1", 1, 2)));
  Buffer out;
  for (ByteView part : assembler.parts()) append(out, part);
  return out;
}

}  // namespace

FUZZ_TARGET(input) {
  static const auto store = std::make_shared<store::MemStore>();
  static const repo::RepositoryPtr repo = new_repository(store);
  read_piece(store, repo, input);
  const size_t half = input.size() / 2;
  read_piece(store, repo, sealed_piece(*repo, input.first(half), input.subspan(half)));
}
