#include "engine/sqlite/tree_list.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/text.h"
#include "codec/codec.h"
#include "engine/sqlite/btree_page.h"
#include "engine/sqlite/schema_text.h"

namespace varve::engine::sqlite {

namespace {

uint64_t hash(std::string_view text) {
  return load_le<uint64_t>(codec::checksum(as_bytes(text)).data());
}

std::string_view body_of(std::string_view sql) {
  const auto name = find_created_name(sql);
  return name ? sql.substr(name->at + name->size) : sql;
}

}  // namespace

bool Tree::is_told() const {
  return is_table() && !to_lower(std::string_view(name).substr(0, 7)).starts_with("sqlite_");
}

TreeList::TreeList(bool has_schema) : trees_(1) {
  trees_[kSchemaTree].name = "sqlite_schema";
  trees_[kSchemaTree].root = has_schema ? 1 : 0;
}

Result<Tree> TreeList::describe(const SchemaEntry& entry, const PageSource& state, uint32_t usable) const {
  Tree tree;
  tree.name = entry.name;
  tree.schema_row = entry.row;
  tree.root = entry.root;
  tree.sql = hash(entry.sql);
  tree.body = hash(body_of(entry.sql));
  if (entry.type == "index") {
    tree.kind = Tree::Kind::kIndex;
    return tree;
  }
  if (entry.is_virtual()) {
    tree.kind = Tree::Kind::kVirtual;
    return tree;
  }
  if (const auto known = by_row_.find(entry.row);
      known != by_row_.end() && trees_[known->second].sql == tree.sql) {
    tree.kind = trees_[known->second].kind;
    tree.key_columns = trees_[known->second].key_columns;
    return tree;
  }
  TRY_ASSIGN(const ByteView view, state(entry.root));
  const auto page = BtreePage::parse(view, entry.root, usable);
  if (!page) return fail(Code::kDamaged, "the root of a table is damaged");
  if (!page->is_table()) {
    tree.kind = Tree::Kind::kWithoutRowid;
    tree.key_columns = count_key_columns(entry.sql);
  }
  return tree;
}

std::vector<uint32_t> TreeList::match(const std::vector<Tree>& entries) const {
  std::vector<uint32_t> out(entries.size());
  std::vector<bool> taken(trees_.size());
  const auto pass = [&](auto find) {
    for (size_t i = 0; i < entries.size(); ++i) {
      if (out[i] != 0) continue;
      const uint32_t tree = find(entries[i]);
      if (tree == 0 || taken[tree] || trees_[tree].kind != entries[i].kind) continue;
      taken[tree] = true;
      out[i] = tree;
    }
  };
  const auto at_row = [&](const Tree& e) {
    const auto it = by_row_.find(e.schema_row);
    return it == by_row_.end() ? 0 : it->second;
  };
  pass([&](const Tree& e) {
    const uint32_t tree = at_row(e);
    return to_lower(trees_[tree].name) == to_lower(e.name) ? tree : 0;
  });
  pass([&](const Tree& e) {  // a new name for the same
    const uint32_t tree = at_row(e);
    return trees_[tree].root == e.root && trees_[tree].body == e.body ? tree : 0;
  });
  pass([&](const Tree& e) {  // made anew under its name
    const auto it = by_name_.find(to_lower(e.name));
    return it == by_name_.end() ? 0 : it->second;
  });
  return out;
}

Result<SchemaChange> TreeList::update(const PageSource& state, const DatabaseHeader& header, uint64_t pages) {
  SchemaChange out;
  Tree& schema = trees_[kSchemaTree];
  if (schema.root == 0) {
    out.roots.push_back({kSchemaTree, 0, 1});
    schema.root = 1;
  }
  TRY_ASSIGN(const auto all, read_schema(state, header, pages));
  std::vector<Tree> entries;
  std::unordered_set<uint32_t> roots{schema.root};
  for (const auto& entry : all) {
    if (entry.root == 0 && !entry.is_virtual()) continue;  // views and triggers
    const bool has_own_root = entry.root == 0 || roots.insert(entry.root).second;
    if (entry.root > pages || !has_own_root) return fail(Code::kDamaged, "a table has no root of its own");
    TRY_ASSIGN(auto tree, describe(entry, state, header.page_size - header.reserved));
    entries.push_back(std::move(tree));
  }
  const auto was = match(entries);
  std::vector<bool> still(trees_.size());
  still[kSchemaTree] = true;
  bool same_content = true;
  for (size_t i = 0; i < entries.size(); ++i) {
    Tree& now = entries[i];
    if (was[i] == 0) {
      const auto number = static_cast<uint32_t>(trees_.size());
      if (now.root != 0) out.roots.push_back({number, 0, now.root});
      if (now.is_table()) out.created.push_back(number);
      same_content = false;
      trees_.push_back(std::move(now));
      continue;
    }
    Tree& before = trees_[was[i]];
    still[was[i]] = true;
    const bool altered = before.sql != now.sql || to_lower(before.name) != to_lower(now.name);
    same_content = same_content && !altered;
    if (altered && now.is_table()) out.altered.push_back(was[i]);
    if (before.root != now.root) out.roots.push_back({was[i], before.root, now.root});
    before = std::move(now);
  }
  for (uint32_t i = 1; i < still.size(); ++i) {
    if (still[i] || !trees_[i].alive) continue;
    trees_[i].alive = false;
    same_content = false;
    if (trees_[i].is_table()) out.dropped.push_back(i);
    if (trees_[i].root != 0) out.roots.push_back({i, trees_[i].root, 0});
  }
  out.same_content = same_content;
  name_parts();
  return out;
}

// "x_content" belongs to the full-text table x.
void TreeList::name_parts() {
  static constexpr std::array<std::string_view, 12> kParts{"content", "data",     "idx",    "docsize",
                                                           "config",  "segments", "segdir", "stat",
                                                           "node",    "parent",   "rowid",  "instance"};
  by_row_.clear();
  by_name_.clear();
  for (uint32_t i = 1; i < trees_.size(); ++i) {
    if (!trees_[i].alive) continue;
    by_row_.emplace(trees_[i].schema_row, i);
    by_name_.emplace(to_lower(trees_[i].name), i);
  }
  for (auto& tree : trees_) {
    if (!tree.alive) continue;
    tree.part_of.clear();
    const size_t at = tree.name.rfind('_');
    if (at == std::string::npos || tree.kind == Tree::Kind::kVirtual || !tree.is_table()) continue;
    const std::string part = to_lower(tree.name.substr(at + 1));
    const auto owner = by_name_.find(to_lower(tree.name.substr(0, at)));
    if (owner == by_name_.end() || trees_[owner->second].kind != Tree::Kind::kVirtual) continue;
    if (std::ranges::find(kParts, part) == kParts.end()) continue;
    tree.part_of = trees_[owner->second].name;
    tree.part = part;
  }
}

std::unordered_map<uint32_t, uint32_t> TreeList::roots() const {
  std::unordered_map<uint32_t, uint32_t> out;
  for (uint32_t i = 0; i < trees_.size(); ++i) {
    if (trees_[i].alive && trees_[i].root != 0) out.emplace(trees_[i].root, i);
  }
  return out;
}

}  // namespace varve::engine::sqlite
