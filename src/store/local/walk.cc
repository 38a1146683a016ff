#include "store/local/walk.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::store {
namespace {

class Walk {
 public:
  Walk(const Context& ctx, const os::Path& root, const std::string& prefix, const std::string& token,
       size_t most)
      : ctx_(ctx), root_(root), prefix_(prefix), token_(token), most_(most) {}

  Result<ListPage> run() {
    // Straight to the folder that the prefix names; where it cannot be a key's, nothing is there.
    const size_t slash = prefix_.rfind('/');
    const std::string start = slash == prefix_.npos ? "" : prefix_.substr(0, slash + 1);
    if (!start.empty() && !check_key(std::string_view(start).substr(0, slash))) return ListPage{};
    TRY_OK(refuse_links(start));
    TRY_OK(folder(start));
    if (page_.objects.size() > most_) {
      page_.objects.pop_back();
      page_.next = page_.objects.back().key;
    }
    return std::move(page_);
  }

 private:
  // One more than asked for: it says whether there is a next page.
  bool full() const { return page_.objects.size() > most_; }

  // Entries of a folder stand as their keys do; a folder as its own text with the '/', because that is what
  // the keys in it are compared by: "a-b" < "a.b" < "a/b" although "a" < "a-b".
  Result<> folder(const std::string& at) {
    std::string after;
    for (bool more = true; more && !full();) {
      TRY_OK(ctx_.check());
      TRY_ASSIGN(std::vector<std::string> entries, smallest(at, after, more));
      for (const std::string& entry : entries) {
        TRY_OK(entry.back() == '/' ? folder(entry) : file(entry));
        if (full()) return {};
      }
      if (!entries.empty()) after = std::move(entries.back());
    }
    return {};
  }

  // The first entries after `after` that may matter, in order; more: whether some were left out.
  Result<std::vector<std::string>> smallest(const std::string& at, const std::string& after, bool& more) {
    const size_t bound = std::max<size_t>(most_ + 1, 1024);
    std::vector<std::string> heap;
    more = false;
    auto read = os::for_each_entry(root_ / at, [&](const os::Entry& entry) -> Result<> {
      if (!check_key(entry.name) || (at.empty() && entry.name == "lost+found")) return {};
      std::string full = at + entry.name;
      if (full.size() > 512) return {};
      if (entry.is_symlink && full.starts_with(prefix_)) return link_in_the_way(full);
      if (entry.is_directory) full += '/';
      if (full <= after || !matters(full, entry.is_directory)) return {};
      if (heap.size() == bound) {
        more = true;
        if (full >= heap.front()) return {};
        std::pop_heap(heap.begin(), heap.end());
        heap.back() = std::move(full);
      } else {
        heap.push_back(std::move(full));
      }
      std::push_heap(heap.begin(), heap.end());
      return {};
    });
    // Absent, or no folder: removed since its parent was read, or never there.
    if (!read && read.error().code != Code::kNotFound) {
      TRY_ASSIGN(const auto s, os::status(root_ / at));
      if (s && s->is_directory) return fail(std::move(read).error());
    }
    std::sort_heap(heap.begin(), heap.end());
    return heap;
  }

  bool matters(const std::string& full, bool is_folder) const {
    if (!is_folder) return full.starts_with(prefix_) && full > token_;
    const bool may_match = full.starts_with(prefix_) || prefix_.starts_with(full);
    return may_match && (full > token_ || token_.starts_with(full));
  }

  Result<> file(const std::string& key) {
    TRY_ASSIGN(const auto s, os::status(root_ / key, false));
    if (!s || !s->is_regular) return {};
    page_.objects.push_back({.key = key,
                             .size = s->size,
                             .modified = Timestamp(std::chrono::microseconds(s->mtime_us)),
                             .retain_until = {}});
    return {};
  }

  Result<> refuse_links(const std::string& start) const {
    for (size_t slash = start.find('/'); slash != start.npos; slash = start.find('/', slash + 1)) {
      TRY_ASSIGN(const auto s, os::status(root_ / start.substr(0, slash), false));
      if (s && s->is_symlink) return link_in_the_way(start.substr(0, slash));
    }
    return {};
  }

  Result<> link_in_the_way(const std::string& name) const {
    return fail(Code::kDenied, fmt::format("{} is a symbolic link", printable((root_ / name).native())),
                "links inside a repository are not followed: remove it, or put the folder itself there");
  }

  const Context& ctx_;
  const os::Path& root_;
  const std::string& prefix_;
  const std::string& token_;
  const size_t most_;
  ListPage page_;
};

}  // namespace

Result<ListPage> list_folder(const Context& ctx, const os::Path& root, const std::string& prefix,
                             const std::string& token, size_t most) {
  return Walk(ctx, root, prefix, token, most).run();
}

}  // namespace varve::store
