// For the integration tests: looks into a store and plants things in it, by the address that varve is given.
//
//   store_tool ADDRESS list                 names, one a line
//   store_tool ADDRESS get KEY              the object, to standard output
//   store_tool ADDRESS put KEY              standard input, in place of what was there
//   store_tool ADDRESS remove KEY…
//   store_tool ADDRESS download FOLDER      every object as a file
//   store_tool ADDRESS upload FOLDER        makes the store hold just what the folder holds
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>

#include "base/log.h"
#include "crypto/crypto.h"
#include "store/open.h"

namespace varve::store {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMost = uint64_t{1} << 30;

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Result<std::vector<Key>> names(Store& s, const Context& ctx) {
  std::vector<Key> out;
  TRY_OK(for_each(s, ctx, "", [&](const ObjectInfo& info) -> Result<> {
    out.push_back(info.key);
    return {};
  }));
  return out;
}

Result<> put(Store& s, const Context& ctx, const Key& key, const std::string& body) {
  return put_bytes(s, ctx, key, as_bytes(body), {.mode = PutMode::kUnconditional});
}

Result<> remove(Store& s, const Context& ctx, const std::vector<Key>& keys) {
  TRY_ASSIGN(auto results, s.remove(ctx, keys));
  for (auto& r : results) TRY_OK(std::move(r.result));
  return {};
}

Result<> download(Store& s, const Context& ctx, const fs::path& folder) {
  TRY_ASSIGN(const auto keys, names(s, ctx));
  for (const Key& key : keys) {
    TRY_ASSIGN(const Buffer body, get_bytes(s, ctx, key, kMost));
    fs::create_directories((folder / key).parent_path());
    std::ofstream(folder / key, std::ios::binary) << as_text(body);
  }
  return {};
}

Result<> upload(Store& s, const Context& ctx, const fs::path& folder) {
  std::map<Key, fs::path> wanted;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) wanted[fs::relative(entry.path(), folder).string()] = entry.path();
  TRY_ASSIGN(const auto there, names(s, ctx));
  std::vector<Key> going;
  for (const Key& key : there) {
    const auto it = wanted.find(key);
    if (it == wanted.end()) {
      going.push_back(key);
      continue;
    }
    TRY_ASSIGN(const Buffer body, get_bytes(s, ctx, key, kMost));
    if (as_text(body) == read_file(it->second)) wanted.erase(it);
  }
  TRY_OK(remove(s, ctx, going));
  for (const auto& [key, path] : wanted) TRY_OK(put(s, ctx, key, read_file(path)));
  return {};
}

Result<> run(const std::vector<std::string>& args) {
  const Context ctx = Context{}.with_deadline(std::chrono::seconds(300));
  if (args.size() < 2) return fail(Code::kUsage, "store_tool ADDRESS COMMAND …");
  TRY_OK(crypto::init());
  TRY_ASSIGN(StorePtr store, open_store(ctx, args[0], {}));
  const std::string& what = args[1];
  if (what == "list") {
    TRY_ASSIGN(const auto keys, names(*store, ctx));
    for (const Key& key : keys) fmt::print("{}\n", key);
    return {};
  }
  if (args.size() < 3) return fail(Code::kUsage, "store_tool ADDRESS COMMAND NAME");
  if (what == "get") {
    TRY_ASSIGN(const Buffer body, get_bytes(*store, ctx, args[2], kMost));
    std::cout << as_text(body);
    return {};
  }
  if (what == "put") return put(*store, ctx, args[2], {std::istreambuf_iterator<char>(std::cin), {}});
  if (what == "remove") return remove(*store, ctx, {args.begin() + 2, args.end()});
  if (what == "download") return download(*store, ctx, args[2]);
  if (what == "upload") return upload(*store, ctx, args[2]);
  return fail(Code::kUsage, "no such command: " + what);
}

}  // namespace
}  // namespace varve::store

int main(int argc, char** argv) {
  auto done = varve::store::run({argv + 1, argv + argc});
  if (done) return 0;
  fmt::print(stderr, "store_tool: {}\n", done.error().describe());
  return varve::exit_code(done.error().code);
}
