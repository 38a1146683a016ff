// A set of block numbers of one file, small whether they are few and scattered or many.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace varve::engine::postgres {

// At most one bit for each block of a touched stretch of 4,096, and two bytes a block where they are few. Not
// thread-safe, not even for reading while it is changed.
class BlockSet {
 public:
  BlockSet() = default;
  BlockSet(BlockSet&& other) noexcept : leaves_(std::move(other.leaves_)) { other.forget(); }
  BlockSet& operator=(BlockSet&& other) noexcept {
    leaves_ = std::move(other.leaves_);
    forget();
    other.forget();
    return *this;
  }

  void insert(uint32_t block) {
    const uint32_t key = block / kLeaf;
    if (last_ == nullptr || last_key_ != key) find_leaf(key);
    last_->insert(static_cast<uint16_t>(block % kLeaf));
  }
  void insert_run(uint32_t first, uint32_t length);  // first + length ≤ 2^32
  bool contains(uint32_t block) const;
  void erase_from(uint32_t first);  // it and all above
  void merge(const BlockSet& other);
  bool empty() const { return leaves_.empty(); }
  uint64_t count() const;

  // Calls visit(first, length) for each run of neighbours, ascending; two runs never touch.
  template <typename Visit>
  void for_each_run(Visit&& visit) const {
    uint64_t first = 0, end = 0;
    for (const auto& entry : leaves_) {
      const uint64_t base = uint64_t{entry.first} * kLeaf;
      entry.second.for_each_run([&](uint32_t from, uint32_t to) {
        if (base + from != end) {
          if (end > first) visit(static_cast<uint32_t>(first), end - first);
          first = base + from;
        }
        end = base + to;
      });
    }
    if (end > first) visit(static_cast<uint32_t>(first), end - first);
  }

 private:
  static constexpr uint32_t kLeaf = 4096;
  static constexpr size_t kFew = 128;
  using Bits = std::array<uint64_t, kLeaf / 64>;

  struct Leaf {
    std::vector<uint16_t> few;  // ascending; unused once there are bits
    std::unique_ptr<Bits> bits;
    bool all = false;  // then neither

    void insert(uint16_t n);
    void insert_range(uint32_t from, uint32_t to);
    bool contains(uint16_t n) const;
    void erase_from(uint32_t n);
    bool empty() const;
    uint32_t count() const;
    void to_bits();
    template <typename Visit>
    void for_each_run(Visit&& visit) const;
  };

  void find_leaf(uint32_t key) {
    last_ = &leaves_[key];
    last_key_ = key;
  }
  void forget() { last_ = nullptr; }

  std::map<uint32_t, Leaf> leaves_;
  Leaf* last_ = nullptr;
  uint32_t last_key_ = 0;
};

template <typename Visit>
void BlockSet::Leaf::for_each_run(Visit&& visit) const {
  if (all) return visit(0, kLeaf);
  uint32_t from = 0, to = 0;
  const auto add = [&](uint32_t n) {
    if (n != to) {
      if (to > from) visit(from, to);
      from = n;
    }
    to = n + 1;
  };
  if (bits) {
    for (uint32_t word = 0; word < bits->size(); ++word)
      for (uint64_t left = (*bits)[word]; left != 0; left &= left - 1)
        add(word * 64 + static_cast<uint32_t>(__builtin_ctzll(left)));
  } else {
    for (const uint16_t n : few) add(n);
  }
  if (to > from) visit(from, to);
}

}  // namespace varve::engine::postgres
