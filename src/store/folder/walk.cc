#include "store/folder/walk.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::store::folder {
namespace {

class Walk {
 public:
  Walk(const Context& ctx, Reader& reader, const std::string& prefix, const std::string& token, size_t most)
      : ctx_(ctx), reader_(reader), prefix_(prefix), token_(token), most_(std::max<size_t>(most, 1)) {}

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
  struct Found {
    std::string name;  // from the root on; ends with '/' when it is a folder
    std::optional<uint64_t> size;
    Timestamp modified;
    bool operator<(const Found& o) const { return name < o.name; }
  };

  // at: "" or "packs/0b/".
  Result<> folder(const std::string& at) {
    std::string after;
    for (bool more = true; more && !full();) {
      TRY_OK(ctx_.check());
      TRY_ASSIGN(std::vector<Found> found, smallest(at, after, more));
      for (Found& f : found) {
        after = f.name;
        TRY_OK(f.name.back() == '/' ? folder(f.name) : file(std::move(f)));
        if (full()) return {};
      }
    }
    return {};
  }

  // The first entries after `after` that may matter, in order; more: whether some were left out.
  Result<std::vector<Found>> smallest(const std::string& at, const std::string& after, bool& more) {
    const size_t bound = std::max<size_t>(most_ + 1, 1024);
    std::vector<Found> heap;
    more = false;
    auto take = [&](Entry&& entry) -> Result<> {
      if (!check_key(entry.name) || (at.empty() && entry.name == "lost+found")) return {};
      std::string full = at + entry.name;
      if (full.size() > 512) return {};
      if (entry.is_symlink && full.starts_with(prefix_)) return link_in_the_way(full);
      if (entry.is_directory) full += '/';
      if (full <= after || !matters(full, entry.is_directory)) return {};
      if (heap.size() == bound) {
        more = true;
        if (full >= heap.front().name) return {};
        std::pop_heap(heap.begin(), heap.end());
        heap.pop_back();
      }
      heap.push_back({std::move(full), entry.size, entry.modified});
      std::push_heap(heap.begin(), heap.end());
      return {};
    };
    TRY_OK(reader_.entries(ctx_, at.substr(0, at.empty() ? 0 : at.size() - 1), take));
    std::sort_heap(heap.begin(), heap.end());
    return heap;
  }

  bool matters(const std::string& full, bool is_folder) const {
    if (!is_folder) return full.starts_with(prefix_) && full > token_;
    const bool may_match = full.starts_with(prefix_) || prefix_.starts_with(full);
    return may_match && (full > token_ || token_.starts_with(full));
  }

  Result<> file(Found&& found) {
    if (found.size) {
      page_.objects.push_back({.key = std::move(found.name),
                               .size = *found.size,
                               .modified = found.modified,
                               .retain_until = {}});
      return {};
    }
    TRY_ASSIGN(auto info, reader_.file(ctx_, found.name));
    if (info) page_.objects.push_back(std::move(*info));
    return {};
  }

  Result<> refuse_links(const std::string& start) const {
    for (size_t slash = start.find('/'); slash != start.npos; slash = start.find('/', slash + 1)) {
      TRY_ASSIGN(const bool is_link, reader_.is_symlink(ctx_, start.substr(0, slash)));
      if (is_link) return link_in_the_way(start.substr(0, slash));
    }
    return {};
  }

  Result<> link_in_the_way(const std::string& place) const {
    return fail(Code::kDenied, fmt::format("{} is a symbolic link", printable(reader_.describe(place))),
                "links inside a repository are not followed: remove it, or put the folder itself there");
  }

  const Context& ctx_;
  Reader& reader_;
  const std::string& prefix_;
  const std::string& token_;
  const size_t most_;
  ListPage page_;
};

}  // namespace

Result<ListPage> list(const Context& ctx, Reader& reader, const std::string& prefix, const std::string& token,
                      size_t most) {
  return Walk(ctx, reader, prefix, token, most).run();
}

}  // namespace varve::store::folder
