#include "engine/postgres/block_set.h"

#include <algorithm>
#include <bit>

namespace varve::engine::postgres {

void BlockSet::Leaf::insert(uint16_t n) {
  if (all) return;
  if (bits) {
    (*bits)[n / 64] |= uint64_t{1} << n % 64;
    return;
  }
  if (few.empty() || few.back() < n) {
    few.push_back(n);
  } else {
    const auto at = std::lower_bound(few.begin(), few.end(), n);
    if (*at == n) return;
    few.insert(at, n);
  }
  if (few.size() > kFew) to_bits();
}

void BlockSet::Leaf::to_bits() {
  bits = std::make_unique<Bits>();
  for (const uint16_t n : few) (*bits)[n / 64] |= uint64_t{1} << n % 64;
  few = {};
}

void BlockSet::Leaf::insert_range(uint32_t from, uint32_t to) {
  if (from == 0 && to == kLeaf) {
    few = {};
    bits.reset();
    all = true;
    return;
  }
  for (uint32_t n = from; n < to; ++n) insert(static_cast<uint16_t>(n));
}

bool BlockSet::Leaf::contains(uint16_t n) const {
  if (all) return true;
  if (bits) return ((*bits)[n / 64] >> n % 64 & 1) != 0;
  return std::binary_search(few.begin(), few.end(), n);
}

void BlockSet::Leaf::erase_from(uint32_t n) {
  if (n == 0) {
    *this = {};
    return;
  }
  if (all) {
    all = false;
    to_bits();
    bits->fill(~uint64_t{0});
  }
  if (bits) {
    for (uint32_t i = n; i < kLeaf; ++i) (*bits)[i / 64] &= ~(uint64_t{1} << i % 64);
  } else {
    few.erase(std::lower_bound(few.begin(), few.end(), static_cast<uint16_t>(n)), few.end());
  }
}

bool BlockSet::Leaf::empty() const {
  if (all) return false;
  return bits ? std::ranges::all_of(*bits, [](uint64_t word) { return word == 0; }) : few.empty();
}

uint32_t BlockSet::Leaf::count() const {
  if (all) return kLeaf;
  if (!bits) return static_cast<uint32_t>(few.size());
  uint32_t out = 0;
  for (const uint64_t word : *bits) out += static_cast<uint32_t>(std::popcount(word));
  return out;
}

void BlockSet::insert_run(uint32_t first, uint32_t length) {
  uint64_t at = first;
  const uint64_t end = at + length;
  while (at < end) {
    const auto key = static_cast<uint32_t>(at / kLeaf);
    const uint64_t next = std::min(end, (uint64_t{key} + 1) * kLeaf);
    const uint64_t base = uint64_t{key} * kLeaf;
    leaves_[key].insert_range(static_cast<uint32_t>(at - base), static_cast<uint32_t>(next - base));
    at = next;
  }
}

bool BlockSet::contains(uint32_t block) const {
  const auto at = leaves_.find(block / kLeaf);
  return at != leaves_.end() && at->second.contains(static_cast<uint16_t>(block % kLeaf));
}

void BlockSet::erase_from(uint32_t first) {
  forget();
  const auto cut = leaves_.find(first / kLeaf);
  if (cut != leaves_.end()) {
    cut->second.erase_from(first % kLeaf);
    if (cut->second.empty()) leaves_.erase(cut);
  }
  leaves_.erase(leaves_.upper_bound(first / kLeaf), leaves_.end());
}

void BlockSet::merge(const BlockSet& other) {
  for (const auto& [key, leaf] : other.leaves_) {
    Leaf& into = leaves_[key];
    if (into.bits && leaf.bits) {
      for (size_t i = 0; i < leaf.bits->size(); ++i) (*into.bits)[i] |= (*leaf.bits)[i];
    } else {
      leaf.for_each_run([&](uint32_t from, uint32_t to) { into.insert_range(from, to); });
    }
  }
}

uint64_t BlockSet::count() const {
  uint64_t out = 0;
  for (const auto& [key, leaf] : leaves_) out += leaf.count();
  return out;
}

}  // namespace varve::engine::postgres
