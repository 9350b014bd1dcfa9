// SPDX-License-Identifier: Apache-2.0
#include "cache/prefix_index.hpp"

#include <algorithm>
#include <cassert>
#include <tuple>

namespace skvis {
namespace {

// Tables of pages lie outside the pool; so many states bound them.
constexpr size_t kMostPoints = 4096;

// What is kept packs no page anew: it needs no room beside the pages that it holds.
void give_up_claims(const SequenceCache& sequence) {
  Pool& pool = sequence.pool();
  const ReservationId holder = sequence.reservation();
  pool.resize(holder, {});
  sequence.each_page([&](PageId page) { pool.make_common(page, holder); });
}

}  // namespace

bool PrefixIndex::TokensLess::operator()(std::span<const uint32_t> a,
                                         std::span<const uint32_t> b) const {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
}

PrefixIndex::Found PrefixIndex::find(const CacheLayout& layout, std::string_view salt,
                                     std::span<const uint32_t> prompt) {
  Found best{.state = states_.end()};
  const auto root = roots_.find(RootKey{layout.plan().identity, salt});
  if (root == roots_.end() || prompt.empty()) return best;
  const SettleRule& settle = layout.plan().settle;
  const std::span<const uint32_t> readable = prompt.first(prompt.size() - 1);
  for (Node* node = &root->second; node != nullptr;) {
    for (const Handle state : node->states) {
      consider(state, readable.subspan(node->end), node->end, best);
    }
    const uint32_t next = settle.next_after(node->end);
    if (next > readable.size()) break;
    const auto child = node->children.find(readable.subspan(node->end, next - node->end));
    node = child == node->children.end() ? nullptr : child->second.get();
  }
  return best;
}

// rest: tokens of the prompt behind the state's grid point `end`.
void PrefixIndex::consider(Handle state, std::span<const uint32_t> rest, uint32_t end,
                           Found& best) const {
  const std::vector<uint32_t>& tail = state->tail;
  const auto [in_tail, in_rest] = std::mismatch(tail.begin(), tail.end(), rest.begin(), rest.end());
  const auto common = static_cast<uint32_t>(in_tail - tail.begin());
  const bool whole = common == tail.size();
  if (!whole && !state->sequence.can_cut()) return;
  const uint32_t tokens = end + common;
  // Of equal ones a conversation that goes on: it need not be copied.
  const bool takes = whole && state->conversation;
  if (tokens > best.tokens || (tokens == best.tokens && tokens > 0 && takes && !best.whole)) {
    best = {state, tokens, takes};
  }
}

void PrefixIndex::touch(Handle state) {
  ++state->hits;
  state->used = ++clock_;
}

bool PrefixIndex::grow(Handle state, const Quota& quota) {
  SequenceCache& sequence = state->sequence;
  const ReservationId holder = sequence.reservation();
  // What nobody else holds is its own, and it may take another in its place.
  sequence.each_page([&](PageId page) {
    if (pool_->in_common(page)) pool_->take_back(page, holder);
  });
  if (pool_->resize(holder, without(quota, sequence.common_pages()))) return true;
  give_up_claims(sequence);
  return false;
}

SequenceCache PrefixIndex::take(Handle state) {
  assert(state->conversation);
  leave(*state);
  SequenceCache sequence = std::move(state->sequence);
  remove(state);
  return sequence;
}

// The node of the last grid point that the tokens reach; made where there is none.
PrefixIndex::Node& PrefixIndex::node_of(const CacheLayout& layout, std::string_view salt,
                                        std::span<const uint32_t> tokens) {
  const SettleRule& settle = layout.plan().settle;
  Node* node = &roots_[RootKey{layout.plan().identity, salt}];
  for (uint32_t next = settle.next_after(0); next <= tokens.size();
       next = settle.next_after(node->end)) {
    const auto step = tokens.subspan(node->end, next - node->end);
    auto child = node->children.find(step);
    if (child == node->children.end()) {
      child = node->children
                  .emplace(std::vector(step.begin(), step.end()),
                           std::make_unique<Node>(Node{.parent = node, .end = next}))
                  .first;
    }
    node = child->second.get();
  }
  return *node;
}

void PrefixIndex::add(Node& node, State state) {
  pool_ = &state.sequence.pool();
  state.sequence.each_page([&](PageId page) {
    if (pages_[page]++ == 0) figures_.bytes += pool_->stride(pool_->class_of(page));
  });
  ++(state.conversation ? figures_.conversations : figures_.points);
  state.node = &node;
  state.used = ++clock_;
  states_.push_back(std::move(state));
  node.states.push_back(std::prev(states_.end()));
}

PrefixIndex::Published PrefixIndex::publish(const SequenceCache& sequence, std::string_view salt,
                                            std::span<const uint32_t> tokens) {
  assert(sequence.committed() == tokens.size());
  Node& node = node_of(sequence.layout(), salt, tokens);
  assert(node.end == tokens.size());
  const bool known = std::any_of(node.states.begin(), node.states.end(), [](Handle state) {
    return !state->conversation || state->tail.empty();
  });
  if (known) return Published::before;
  if (figures_.points < kMostPoints) {
    if (auto fork = sequence.fork(sequence.pool().reserve({}))) {
      give_up_claims(*fork);
      add(node, {.sequence = std::move(*fork)});
      return Published::now;
    }
  }
  prune(&node);
  return Published::no_room;
}

void PrefixIndex::keep(SequenceCache sequence, std::string_view salt,
                       std::span<const uint32_t> tokens, uint32_t first_prompt) {
  give_up_claims(sequence);
  Node& node = node_of(sequence.layout(), salt, tokens);
  const auto tail = tokens.subspan(node.end);
  add(node, {.sequence = std::move(sequence),
             .tail = {tail.begin(), tail.end()},
             .conversation = true,
             .first_prompt = first_prompt});
}

void PrefixIndex::remove(Handle state) {
  Node* node = state->node;
  std::erase(node->states, state);
  states_.erase(state);
  prune(node);
}

// Its pages are no longer the index's.
void PrefixIndex::leave(const State& state) {
  --(state.conversation ? figures_.conversations : figures_.points);
  state.sequence.each_page([&](PageId page) {
    const auto held = pages_.find(page);
    if (--held->second > 0) return;
    figures_.bytes -= pool_->stride(pool_->class_of(page));
    pages_.erase(held);
  });
}

// Takes away nodes that lead to no state.
void PrefixIndex::prune(Node* node) {
  while (node->parent != nullptr && node->states.empty() && node->children.empty()) {
    Node* parent = node->parent;
    const auto self = std::find_if(parent->children.begin(), parent->children.end(),
                                   [&](const auto& child) { return child.second.get() == node; });
    parent->children.erase(self);
    node = parent;
  }
  if (node->parent == nullptr && node->states.empty() && node->children.empty()) {
    std::erase_if(roots_, [&](const auto& root) { return &root.second == node; });
  }
}

void PrefixIndex::drop(Handle state) {
  ++(state->conversation ? figures_.dropped : figures_.dropped_points);
  leave(*state);
  remove(state);
}

void PrefixIndex::clear() {
  roots_.clear();
  states_.clear();
  pages_.clear();
  figures_.conversations = figures_.points = figures_.bytes = 0;
}

// Its share of the pages that it holds.
double PrefixIndex::bytes_of(const SequenceCache& sequence) {
  const Pool& pool = sequence.pool();
  double bytes = 0;
  sequence.each_page([&](PageId page) {
    bytes += static_cast<double>(pool.page_bytes(pool.class_of(page))) / pool.holders(page);
  });
  return bytes;
}

PrefixIndex::Handle PrefixIndex::least_valuable(const std::function<int64_t(const State&)>& rank) {
  // In this order: rank, never begun with, cost.
  using Urgency = std::tuple<int64_t, bool, double>;
  Handle best = states_.end();
  Urgency most{};
  for (Handle state = states_.begin(); state != states_.end(); ++state) {
    const int64_t its_rank = rank(*state);
    if (its_rank < 0) continue;
    const auto age = static_cast<double>(clock_ - state->used + 1);
    const Urgency urgency{its_rank, !state->conversation && state->hits == 0,
                          bytes_of(state->sequence) * age / static_cast<double>(state->hits + 1)};
    if (best != states_.end() && urgency <= most) continue;
    best = state;
    most = urgency;
  }
  return best;
}

size_t PrefixIndex::reclaimable() const {
  size_t bytes = 0;
  for (const auto& [page, states] : pages_) {
    if (pool_->holders(page) == states) bytes += pool_->stride(pool_->class_of(page));
  }
  return bytes;
}

}  // namespace skvis
