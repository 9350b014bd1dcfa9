// SPDX-License-Identifier: Apache-2.0
#include "grammar/configurations.hpp"

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "grammar/token_vocabulary.hpp"

namespace skvis {

InternedLists::InternedLists() : slots_(64) {}

uint64_t InternedLists::hash(std::span<const Pair> pairs, uint32_t tag) {
  uint64_t value = tag + 0x9e3779b97f4a7c15ull;
  for (const Pair& pair : pairs) {
    value ^= uint64_t{pair.state} << 32 | pair.node;
    value *= 0xff51afd7ed558ccdull;  // the multiplier of MurmurHash3's finaliser
    value ^= value >> 32;
  }
  return value;
}

uint32_t InternedLists::intern(std::span<const Pair> list, uint32_t tag) {
  if (2 * tags_.size() >= slots_.size()) grow();
  size_t slot = hash(list, tag) & (slots_.size() - 1);
  for (; slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1)) {
    const uint32_t id = slots_[slot] - 1;
    const auto known = pairs(id);
    if (tags_[id] == tag && std::equal(known.begin(), known.end(), list.begin(), list.end())) {
      return id;
    }
  }
  pool_.insert(pool_.end(), list.begin(), list.end());
  begin_.push_back(static_cast<uint32_t>(pool_.size()));
  tags_.push_back(tag);
  return slots_[slot] = size(), size() - 1;
}

void InternedLists::grow() {
  slots_.assign(2 * slots_.size(), 0);
  for (uint32_t id = 0; id < size(); ++id) {
    size_t slot = hash(pairs(id), tags_[id]) & (slots_.size() - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = id + 1;
  }
}

size_t InternedLists::bytes() const {
  return pool_.capacity() * sizeof(Pair) +
         (begin_.capacity() + tags_.capacity() + slots_.capacity()) * sizeof(uint32_t);
}

Configurations::Configurations(const Grammar& grammar)
    : grammar_(grammar), classes_(grammar.byte_classes()), seen_(grammar.states()) {
  nodes_.intern({}, kBottom);
  nodes_.intern({}, kUnknownCaller);
  intern({}, 0);
  std::fill(rows_.begin(), rows_.end(), kDead);
  std::vector<bool> seen(classes_);
  for (int byte = 0; byte < 256; ++byte) {
    const auto each = static_cast<uint8_t>(byte);
    if (!TokenVocabulary::is_plain(each) || seen[grammar.class_of(each)]) continue;
    seen[grammar.class_of(each)] = true;
    plain_bytes_.push_back(each);
  }
}

ConfigurationId Configurations::intern(std::span<const Item> items, uint32_t tag) {
  const ConfigurationId id = configurations_.intern(items, tag);
  if (rows_.size() <= id * size_t{classes_}) rows_.resize(rows_.size() + classes_, kUnknown);
  return id;
}

ConfigurationId Configurations::start() {
  const Grammar::Rule& root = grammar_.rules()[grammar_.root()];
  const Item frame{root.end, kBottom};
  std::vector<Item> reached = {{root.start, nodes_.intern({&frame, 1}, 0)}};
  return close(reached);
}

ConfigurationId Configurations::local(uint32_t state) {
  const Item item{state, kUnknownCaller};
  return intern({&item, 1}, 0);
}

ConfigurationId Configurations::behind(StackNodeId node) {
  if (node < behind_.size() && behind_[node] != kUnknown) return behind_[node];
  const auto frames = nodes_.pairs(node);
  std::vector<Item> reached(frames.begin(), frames.end());
  const ConfigurationId id = close(reached);
  if (exhausted_) return kDead;
  if (node >= behind_.size()) behind_.resize(nodes_.size(), kUnknown);
  return behind_[node] = id;
}

ConfigurationId Configurations::find_plain(ConfigurationId id) {
  ConfigurationId common = next(id, plain_bytes_[0]);
  for (size_t i = 1; i < plain_bytes_.size() && common != kDead; ++i) {
    if (next(id, plain_bytes_[i]) != common) common = kDead;
  }
  if (exhausted_) return kDead;
  if (id >= plain_.size()) plain_.resize(configurations_.size(), kUnknown);
  return plain_[id] = common;
}

bool Configurations::spend(size_t work) {
  if (work_left_ < work) exhausted_ = true;
  if (!exhausted_) work_left_ -= work;
  return !exhausted_;
}

// One byte: over the edges of all items, then, callers before callees, of the rules they call. A
// rule's node needs all its callers, and no rule begins with itself, so that order exists.
ConfigurationId Configurations::step(ConfigurationId id, uint8_t byte) {
  if (exhausted_) return kDead;
  calls_.clear();
  reached_.clear();
  kept_.assign(items(id).begin(), items(id).end());
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (i == 0 || kept_[i].node != kept_[i - 1].node) ++walk_;
    expand(kept_[i].state, kept_[i].node, byte);
  }
  while (!calls_.empty() && !exhausted_) {
    const uint32_t rule = calls_.front().rule;
    frames_.clear();
    while (!calls_.empty() && calls_.front().rule == rule) {
      if (frames_.empty() || frames_.back() != calls_.front().frame) {
        frames_.push_back(calls_.front().frame);
      }
      std::pop_heap(calls_.begin(), calls_.end(), std::greater<>());
      calls_.pop_back();
    }
    if (frames_.size() > kMaxItems) exhausted_ = true;
    if (!spend(frames_.size())) break;
    ++walk_;
    expand(grammar_.rules()[rule].start, nodes_.intern(frames_, 0), byte);
  }
  const ConfigurationId next = close(reached_);
  if (exhausted_ || bytes() > kHardBytes) {
    exhausted_ = true;
    return kDead;
  }
  return rows_[id * size_t{classes_} + grammar_.class_of(byte)] = next;
}

// The states that `state` reaches over nothing and this walk has not seen: their byte edges are
// taken, their calls noted.
void Configurations::expand(uint32_t state, StackNodeId node, uint8_t byte) {
  if (walk_ == UINT32_MAX) {  // numbers are used up: begin anew
    std::fill(seen_.begin(), seen_.end(), 0);
    walk_ = 1;
  }
  if (seen_[state] == walk_) return;
  open_.assign(1, state);
  seen_[state] = walk_;
  while (!open_.empty()) {
    const uint32_t at = open_.back();
    open_.pop_back();
    const auto bytes = grammar_.byte_edges(at);
    const auto calls = grammar_.call_edges(at);
    const auto empties = grammar_.empty_edges(at);
    if (!spend(1 + bytes.size() + calls.size() + empties.size())) return;
    for (const auto& edge : bytes) {
      if (grammar_.matches(edge, byte)) reached_.push_back({edge.target, node});
    }
    for (const auto& edge : calls) {
      if (grammar_.first(grammar_.rules()[edge.rule].start)[byte]) {
        call(edge, grammar_.rule_of(at), node);
      }
    }
    for (const uint32_t target : empties) {
      if (seen_[target] == walk_ || !grammar_.first(target)[byte]) continue;
      seen_[target] = walk_;
      open_.push_back(target);
    }
  }
}

void Configurations::call(const Grammar::CallEdge& edge, uint32_t rule, StackNodeId node) {
  const auto push = [&](const Item& frame) {
    calls_.push_back({grammar_.rules()[edge.rule].order, edge.rule, frame});
    std::push_heap(calls_.begin(), calls_.end(), std::greater<>());
  };
  const auto frames = nodes_.pairs(node);
  const bool last = edge.target == grammar_.rules()[rule].end;
  if (last && !frames.empty() && frames.size() <= kInherited && spend(frames.size())) {
    for (const Item& frame : frames) push(frame);
  } else {
    push({edge.target, node});
  }
}

// The configuration of what was reached: rules that may have ended go on behind their callers.
ConfigurationId Configurations::close(std::vector<Item>& reached) {
  uint32_t tag = 0;
  std::sort(reached.begin(), reached.end());
  reached.erase(std::unique(reached.begin(), reached.end()), reached.end());
  struct Hash {
    size_t operator()(const Item& item) const {
      return (uint64_t{item.state} << 32 | item.node) * 0x9e3779b97f4a7c15ull >> 20;
    }
  };
  // Few items are found by looking at all of them.
  constexpr size_t kFew = 16;
  std::unordered_set<Item, Hash> known;
  const auto is_new = [&](const Item& item) {
    if (reached.size() < kFew) {
      return std::find(reached.begin(), reached.end(), item) == reached.end();
    }
    if (known.empty()) known.insert(reached.begin(), reached.end());
    return known.insert(item).second;
  };
  kept_.clear();
  for (size_t i = 0; i < reached.size(); ++i) {
    const Item item = reached[i];
    if (grammar_.continues(item.state)) kept_.push_back(item);
    if (!grammar_.finishes(item.state)) continue;
    if (item.node == kBottom) tag |= kEnds;
    if (item.node == kUnknownCaller) tag |= kReturns;
    const auto frames = nodes_.pairs(item.node);
    if (!spend(1 + frames.size())) return kDead;
    for (const Item& frame : frames) {
      if (is_new(frame)) reached.push_back(frame);
    }
  }
  if (kept_.size() > kMaxItems) exhausted_ = true;
  if (exhausted_) return kDead;
  std::sort(kept_.begin(), kept_.end());
  return intern(kept_, tag);
}

uint64_t Configurations::shortest(ConfigurationId id) {
  // A node's frames refer to older nodes only.
  for (StackNodeId node = static_cast<StackNodeId>(distance_.size()); node < nodes_.size();
       ++node) {
    uint64_t best = nodes_.pairs(node).empty() ? 0 : Grammar::kFar;
    for (const Item& frame : nodes_.pairs(node)) {
      best = std::min(best, grammar_.shortest(frame.state) + distance_[frame.node]);
    }
    distance_.push_back(std::min(best, Grammar::kFar));
  }
  uint64_t best = ends(id) ? 0 : Grammar::kFar;
  for (const Item& item : items(id)) {
    best = std::min(best, grammar_.shortest(item.state) + distance_[item.node]);
  }
  return best;
}

size_t Configurations::bytes() const {
  return nodes_.bytes() + configurations_.bytes() + rows_.capacity() * sizeof(uint32_t) +
         (behind_.capacity() + plain_.capacity()) * sizeof(uint32_t) +
         distance_.capacity() * sizeof(uint64_t);
}

// Nodes that the roots need, oldest first.
std::vector<StackNodeId> Configurations::reachable(std::span<const ConfigurationId> roots) const {
  std::vector<bool> needed(nodes_.size());
  std::vector<StackNodeId> open, found;
  const auto need = [&](StackNodeId node) {
    if (!needed[node]) needed[node] = true, open.push_back(node);
  };
  for (const ConfigurationId root : roots) {
    for (const Item& item : items(root)) need(item.node);
  }
  while (!open.empty()) {
    found.push_back(open.back());
    open.pop_back();
    for (const Item& frame : nodes_.pairs(found.back())) need(frame.node);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::unique_ptr<Configurations> Configurations::compacted(std::span<ConfigurationId> roots) const {
  auto copy = std::make_unique<Configurations>(grammar_);
  std::vector<StackNodeId> renamed(nodes_.size());
  std::vector<Item> list;
  const auto rename = [&](std::span<const Item> old) {
    list.assign(old.begin(), old.end());
    for (Item& item : list) item.node = renamed[item.node];
    std::sort(list.begin(), list.end());
  };
  for (const StackNodeId node : reachable(roots)) {
    rename(nodes_.pairs(node));
    renamed[node] = copy->nodes_.intern(list, nodes_.tag(node));
  }
  for (ConfigurationId& root : roots) {
    rename(items(root));
    root = copy->intern(list, configurations_.tag(root));
  }
  return copy;
}

}  // namespace skvis
