#include "repo/manifest.h"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <mutex>

#include "base/task_group.h"
#include "base/text.h"
#include "repo/format.pb.h"
#include "repo/wire.h"

namespace varve::repo {
namespace {

constexpr uint32_t kMaxSegmentPages = 1u << 20;
constexpr size_t kLoaders = 8;

tl::unexpected<Error> damaged(std::string why) {
  return fail(Code::kDamaged, "the manifest " + std::move(why));
}

bool by_id(const PackInfo& pack, const PackId& id) {
  return pack.id < id;
}

// 1-based; 0, which no reader accepts, when it is not in the list.
uint32_t index_of(const std::vector<PackInfo>& packs, const PackId& id) {
  const auto it = std::lower_bound(packs.begin(), packs.end(), id, by_id);
  return it == packs.end() || it->id != id ? 0 : static_cast<uint32_t>(it - packs.begin()) + 1;
}

Result<std::vector<PackInfo>> decode_packs(const format::Manifest& in) {
  std::vector<PackInfo> out;
  out.reserve(static_cast<size_t>(in.packs_size()));
  for (const auto& p : in.packs()) {
    PackInfo pack;
    TRY_ASSIGN(pack.id, PackId::from_bytes(as_bytes(p.id())));
    if (!out.empty() && out.back().id >= pack.id) return damaged("lists its packs in no order");
    pack.size = p.size();
    if (pack.size == 0 || p.checksum().size() != pack.checksum.size())
      return damaged("describes a pack in part");
    std::memcpy(pack.checksum.data(), p.checksum().data(), pack.checksum.size());
    out.push_back(pack);
  }
  return out;
}

Result<std::vector<FileTableRef>> decode_tables(const format::Manifest& in,
                                                const std::vector<PackInfo>& packs) {
  std::vector<FileTableRef> out;
  uint64_t files = 0;
  for (const auto& t : in.tables()) {
    if (t.slot().pack() == 0 || t.slot().pack() > packs.size())
      return damaged("refers to a pack it does not list");
    FileTableRef table{
        {packs[t.slot().pack() - 1].id, t.slot().ordinal()}, t.first_path(), t.last_path(), t.files()};
    if (table.first_path.empty() || table.first_path > table.last_path || table.files == 0 ||
        (!out.empty() && out.back().last_path >= table.first_path))
      return damaged("lists its files in no order");
    if (table.files > in.files() - files) return damaged("miscounts its files");
    files += table.files;
    out.push_back(std::move(table));
  }
  if (files != in.files()) return damaged("miscounts its files");
  return out;
}

Result<> check_names(const Manifest& m) {
  for (const std::string* name : {&m.id, &m.source, &m.engine}) {
    if (!check_name(*name)) return damaged("has a name that cannot be one");
  }
  if (!m.epoch.empty() && !check_name(m.epoch)) return damaged("has a name that cannot be one");
  for (const std::string& plan : m.collections_seen) {
    if (!check_name(plan)) return damaged("names a collection that cannot be one");
  }
  const bool full = m.type == "full";
  if (!full && m.type != "differential" && m.type != "incremental") return damaged("is of no known type");
  if (full ? !m.parent.empty() || m.base != m.id
           : !check_name(m.parent) || !check_name(m.base) || m.parent == m.id)
    return damaged("has an impossible parent");
  if (!WriterId::from_hex_text(m.writer)) return damaged("names no writer");
  return {};
}

void decode_plain_fields(const format::Manifest& in, Manifest& m) {
  m.id = in.id();
  m.source = in.source();
  m.engine = in.engine();
  m.type = in.type();
  m.parent = in.parent();
  m.base = in.base();
  m.start_position = in.start_position();
  m.stop_position = in.stop_position();
  m.size = in.size();
  m.read = in.read();
  m.stored = in.stored();
  m.pages_new = in.pages_new();
  m.changed_pages_from = in.changed_pages_from();
  m.host = in.host();
  m.address = in.address();
  m.varve_version = in.varve_version();
  m.database_version = in.database_version();
  m.lineage = in.lineage();
  m.epoch = in.epoch();
  m.segment_pages = in.segment_pages();
  m.files = in.files();
  m.engine_data = to_buffer(as_bytes(in.engine_data()));
  m.catalogue.assign(in.catalogue().begin(), in.catalogue().end());
  m.collections_seen.assign(in.collections_seen().begin(), in.collections_seen().end());
  m.writer = in.writer();
  m.warnings.assign(in.warnings().begin(), in.warnings().end());
}

void encode_lists(const Manifest& m, format::Manifest& out) {
  for (const PackInfo& p : m.packs) {
    auto* pack = out.add_packs();
    pack->set_id(std::string(as_text(p.id.view())));
    pack->set_size(p.size);
    pack->set_checksum(std::string(as_text(p.checksum)));
  }
  for (const FileTableRef& t : m.tables) {
    auto* table = out.add_tables();
    table->mutable_slot()->set_pack(index_of(m.packs, t.place.pack));
    table->mutable_slot()->set_ordinal(t.place.ordinal);
    table->set_first_path(t.first_path);
    table->set_last_path(t.last_path);
    table->set_files(t.files);
  }
  for (const std::string& text : m.catalogue) out.add_catalogue(utf8(text));
  for (const std::string& text : m.collections_seen) out.add_collections_seen(text);
  for (const std::string& text : m.warnings) out.add_warnings(utf8(text));
}

}  // namespace

const PackInfo* Manifest::find_pack(const PackId& pack) const {
  const uint32_t index = index_of(packs, pack);
  return index == 0 ? nullptr : &packs[index - 1];
}

Buffer encode(const Manifest& m) {
  format::Manifest out;
  out.set_id(m.id);
  out.set_source(m.source);
  out.set_engine(m.engine);
  out.set_type(m.type);
  out.set_parent(m.parent);
  out.set_base(m.base);
  out.set_started_us(to_wire(m.started));
  out.set_finished_us(to_wire(m.finished));
  out.set_moment_us(to_wire(m.moment));
  out.set_start_position(utf8(m.start_position));
  out.set_stop_position(utf8(m.stop_position));
  out.set_size(m.size);
  out.set_read(m.read);
  out.set_stored(m.stored);
  out.set_pages_new(m.pages_new);
  out.set_changed_pages_from(utf8(m.changed_pages_from));
  out.set_host(utf8(m.host));
  out.set_address(utf8(m.address));
  out.set_varve_version(utf8(m.varve_version));
  out.set_database_version(utf8(m.database_version));
  out.set_lineage(utf8(m.lineage));
  out.set_epoch(m.epoch);
  out.set_segment_pages(m.segment_pages);
  out.set_files(m.files);
  out.set_engine_data(std::string(as_text(m.engine_data)));
  out.set_writer(m.writer);
  if (m.retained_until) out.set_retained_until_us(to_wire(*m.retained_until));
  encode_lists(m, out);
  return serialize(out);
}

Result<Manifest> decode_manifest(ByteView bytes) {
  format::Manifest in;
  TRY_OK(parse(in, bytes, "the manifest"));
  Manifest m;
  decode_plain_fields(in, m);
  TRY_OK(check_names(m));
  TRY_ASSIGN(m.started, time_from_wire(in.started_us()));
  if (in.retained_until_us() != 0) {
    TRY_ASSIGN(m.retained_until, time_from_wire(in.retained_until_us()));
  }
  TRY_ASSIGN(m.finished, time_from_wire(in.finished_us()));
  TRY_ASSIGN(m.moment, time_from_wire(in.moment_us()));
  if (m.segment_pages == 0 || m.segment_pages > kMaxSegmentPages)
    return damaged("divides its files in parts of an impossible size");
  TRY_ASSIGN(m.packs, decode_packs(in));
  TRY_ASSIGN(m.tables, decode_tables(in, m.packs));
  return m;
}

Result<std::vector<std::string>> list_sources(const Repository& repo, const Context& ctx) {
  constexpr std::string_view kPrefix = "sources/";
  std::vector<std::string> out;
  TRY_OK(store::for_each(repo.store(), ctx, std::string(kPrefix),
                         [&](const store::ObjectInfo& info) -> Result<> {
                           const std::string_view rest = std::string_view(info.key).substr(kPrefix.size());
                           const std::string_view name = rest.substr(0, rest.find('/'));
                           if (out.empty() || out.back() != name) out.emplace_back(name);
                           return {};
                         }));
  // Keys ascend, names need not: '-' and '.' sort before the '/' that ends a name.
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<std::vector<std::string>> list_backup_ids(const Repository& repo, const Context& ctx,
                                                 const std::string& source) {
  TRY_OK(check_name(source));
  const std::string prefix = manifest_prefix(source);
  std::vector<std::string> out;
  TRY_OK(store::for_each(repo.store(), ctx, prefix, [&](const store::ObjectInfo& info) -> Result<> {
    out.push_back(info.key.substr(prefix.size()));
    return {};
  }));
  return out;
}

Result<Manifest> load_manifest(const Repository& repo, const Context& ctx, const std::string& source,
                               const std::string& backup) {
  TRY_OK(check_name(source));
  TRY_OK(check_name(backup));
  const store::Key key = manifest_key(source, backup);
  TRY_ASSIGN(const Buffer bytes, repo.get_object(ctx, "manifest", key));
  auto m = decode_manifest(bytes);
  if (!m) return fail(m.error().code, fmt::format("{}: {}", key, m.error().message));
  if (m->id != backup || m->source != source)
    return fail(Code::kDamaged, fmt::format("{}: is the manifest of another backup", key));
  return m;
}

namespace {

// nullopt: removed since it was listed. Only a store that cannot be reached is an error of the whole.
Result<std::optional<Result<Manifest>>> load_if_there(const Repository& repo, const Context& ctx,
                                                      const std::string& source, const std::string& id) {
  auto m = load_manifest(repo, ctx, source, id);
  if (!m && m.error().code == Code::kNotFound) return std::nullopt;
  if (!m && (m.error().code == Code::kUnreachable || m.error().code == Code::kInterrupted))
    return fail(std::move(m).error());
  return std::optional(std::move(m));
}

}  // namespace

Result<> for_each_manifest(const Repository& repo, const Context& ctx, const std::string& source,
                           const std::function<Result<>(const std::string& id, Result<Manifest>)>& callback) {
  TRY_ASSIGN(const std::vector<std::string> ids, list_backup_ids(repo, ctx, source));
  std::atomic<size_t> next{0};
  std::mutex one_at_a_time;
  TaskGroup group(ctx.stop);
  for (size_t i = 0; i < std::min(kLoaders, ids.size()); ++i) {
    group.spawn([&](std::stop_token stop) -> Result<> {
      Context mine = ctx;
      mine.stop = stop;
      for (size_t n = next++; n < ids.size(); n = next++) {
        TRY_ASSIGN(auto m, load_if_there(repo, mine, source, ids[n]));
        if (!m) continue;
        std::lock_guard lock(one_at_a_time);
        TRY_OK(callback(ids[n], std::move(*m)));
      }
      return {};
    });
  }
  return group.wait();
}

Result<ManifestList> load_manifests(const Repository& repo, const Context& ctx, const std::string& source) {
  ManifestList out;
  TRY_OK(for_each_manifest(repo, ctx, source, [&](const std::string& id, Result<Manifest> m) -> Result<> {
    if (m) {
      out.manifests.push_back(std::move(*m));
    } else {
      out.unreadable.push_back({manifest_key(source, id), std::move(m).error()});
    }
    return {};
  }));
  std::sort(out.manifests.begin(), out.manifests.end(),
            // Ids of one second are in no order.
            [](const Manifest& a, const Manifest& b) {
              return a.moment != b.moment ? a.moment < b.moment : a.id < b.id;
            });
  std::sort(out.unreadable.begin(), out.unreadable.end(),
            [](const UnreadableManifest& a, const UnreadableManifest& b) { return a.key < b.key; });
  return out;
}

Result<> for_newest_manifests(
    const Repository& repo, const Context& ctx, const std::string& source,
    const std::function<Result<bool>(const std::string& id, Result<Manifest>)>& callback) {
  TRY_ASSIGN(const std::vector<std::string> ids, list_backup_ids(repo, ctx, source));
  for (auto id = ids.rbegin(); id != ids.rend();) {
    const std::string_view second = id_second(*id);
    std::vector<std::pair<std::string, Result<Manifest>>> of_it;
    for (; id != ids.rend() && id_second(*id) == second; ++id) {
      TRY_ASSIGN(auto m, load_if_there(repo, ctx, source, *id));
      if (m) of_it.emplace_back(*id, std::move(*m));
    }
    const auto rank = [](const Result<Manifest>& m) { return m ? m->moment : Timestamp::max(); };
    std::stable_sort(of_it.begin(), of_it.end(),
                     [&](const auto& a, const auto& b) { return rank(a.second) > rank(b.second); });
    for (auto& [name, m] : of_it) {
      TRY_ASSIGN(const bool more, callback(name, std::move(m)));
      if (!more) return {};
    }
  }
  return {};
}

Result<NewestManifest> newest_manifest(const Repository& repo, const Context& ctx,
                                       const std::string& source) {
  NewestManifest out;
  TRY_OK(
      for_newest_manifests(repo, ctx, source, [&](const std::string& id, Result<Manifest> m) -> Result<bool> {
        if (m) {
          out.manifest = std::move(*m);
          return false;
        }
        out.unreadable.push_back({manifest_key(source, id), std::move(m).error()});
        return true;
      }));
  return out;
}

}  // namespace varve::repo
