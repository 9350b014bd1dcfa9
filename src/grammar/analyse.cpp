// SPDX-License-Identifier: Apache-2.0
// What is to be known of a grammar before it runs. All passes are worklists over edges: their time
// is linear in the grammar, apart from sets of bytes, which can grow 256 times at most.
#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "grammar/compile.hpp"

namespace skvis {
namespace {

using Edge = RawGrammar::Edge;

// Edges by one of their ends: those of key k are items[begin[k]] to items[begin[k + 1]].
struct EdgeIndex {
  std::vector<uint32_t> begin;
  std::vector<Edge> items;

  EdgeIndex(const std::vector<Edge>& edges, size_t keys, uint32_t Edge::*key)
      : begin(keys + 1), items(edges.size()) {
    for (const Edge& edge : edges) ++begin[edge.*key + 1];
    for (size_t k = 0; k < keys; ++k) begin[k + 1] += begin[k];
    std::vector<uint32_t> next(begin.begin(), begin.end() - 1);
    for (const Edge& edge : edges) items[next[edge.*key]++] = edge;
  }
  std::span<const Edge> of(uint32_t key) const {
    return {items.data() + begin[key], items.data() + begin[key + 1]};
  }
};

}  // namespace

class GrammarAnalysis {
 public:
  explicit GrammarAnalysis(RawGrammar raw) : raw_(std::move(raw)) {}

  Result<Grammar> run() {
    add_empty_rules();
    keep_productive();
    if (!productive_[raw_.rules[0].start]) {
      return fail(
          "no text can match: rule '{}' never comes to an end, or demands what its parts "
          "exclude",
          raw_.rules[0].name);
    }
    SKVIS_CHECK(order_rules());
    store_edges();
    find_first();
    find_follow();
    find_shortest();
    classify_bytes();
    return std::move(grammar_);
  }

 private:
  size_t states() const { return raw_.state_rule.size(); }
  size_t rules() const { return raw_.rules.size(); }
  bool is_start(uint32_t state) const { return raw_.rules[raw_.state_rule[state]].start == state; }

  // A rule that may be empty may also be passed over: calls then match at least one byte.
  void add_empty_rules() {
    const EdgeIndex empties(raw_.empties, states(), &Edge::from);
    const EdgeIndex calls(raw_.calls, states(), &Edge::from);
    const EdgeIndex callers(raw_.calls, rules(), &Edge::label);
    std::vector<bool> reached(states()), nullable(rules());
    std::vector<uint32_t> open;
    const auto reach = [&](uint32_t state) {
      if (!reached[state]) reached[state] = true, open.push_back(state);
    };
    for (const auto& rule : raw_.rules) reach(rule.start);
    while (!open.empty()) {
      const uint32_t state = open.back();
      open.pop_back();
      for (const Edge& edge : empties.of(state)) reach(edge.to);
      for (const Edge& edge : calls.of(state)) {
        if (nullable[edge.label]) reach(edge.to);
      }
      const uint32_t rule = raw_.state_rule[state];
      if (state != raw_.rules[rule].end || nullable[rule]) continue;
      nullable[rule] = true;
      for (const Edge& edge : callers.of(rule)) {
        if (edge.from != edge.to) raw_.empties.push_back({edge.from, edge.to});
        if (reached[edge.from]) reach(edge.to);
      }
    }
  }

  // Drops edges from which no end of a rule can be reached, and calls of rules that never end.
  void keep_productive() {
    const EdgeIndex bytes(raw_.bytes, states(), &Edge::to);
    const EdgeIndex empties(raw_.empties, states(), &Edge::to);
    const EdgeIndex calls(raw_.calls, states(), &Edge::to);
    const EdgeIndex callers(raw_.calls, rules(), &Edge::label);
    productive_.assign(states(), false);
    std::vector<uint32_t> open;
    const auto mark = [&](uint32_t state) {
      if (!productive_[state]) productive_[state] = true, open.push_back(state);
    };
    for (const auto& rule : raw_.rules) mark(rule.end);
    while (!open.empty()) {
      const uint32_t state = open.back();
      open.pop_back();
      for (const Edge& edge : bytes.of(state)) mark(edge.from);
      for (const Edge& edge : empties.of(state)) mark(edge.from);
      for (const Edge& edge : calls.of(state)) {
        if (productive_[raw_.rules[edge.label].start]) mark(edge.from);
      }
      if (!is_start(state)) continue;
      for (const Edge& edge : callers.of(raw_.state_rule[state])) {
        if (productive_[edge.to]) mark(edge.from);
      }
    }
    const auto dead = [&](const Edge& edge) { return !productive_[edge.to]; };
    std::erase_if(raw_.bytes, dead);
    std::erase_if(raw_.empties, dead);
    std::erase_if(raw_.calls, [&](const Edge& edge) {
      return dead(edge) || !productive_[raw_.rules[edge.label].start];
    });
  }

  // Rules that a rule may begin with, by depth-first search; a way back is left recursion.
  Result<void> order_rules() {
    const std::vector<Edge> begins = left_calls();
    const EdgeIndex next(begins, rules(), &Edge::from);
    enum : uint8_t { kNew, kOpen, kDone };
    std::vector<uint8_t> state(rules(), kNew);
    std::vector<std::pair<uint32_t, size_t>> path;  // rule, edges seen
    uint32_t done = 0;
    for (uint32_t root = 0; root < rules(); ++root) {
      if (state[root] == kNew) path.push_back({root, 0}), state[root] = kOpen;
      while (!path.empty()) {
        auto& [rule, seen] = path.back();
        const auto edges = next.of(rule);
        if (seen == edges.size()) {
          state[rule] = kDone;
          raw_.rules[rule].order = static_cast<uint32_t>(rules()) - ++done;
          path.pop_back();
          continue;
        }
        const uint32_t target = edges[seen++].to;
        if (state[target] == kOpen) return left_recursion(path, target);
        if (state[target] == kNew) path.push_back({target, 0}), state[target] = kOpen;
      }
    }
    return {};
  }

  std::vector<Edge> left_calls() const {
    const EdgeIndex empties(raw_.empties, states(), &Edge::from);
    const EdgeIndex calls(raw_.calls, states(), &Edge::from);
    std::vector<bool> seen(states());
    std::vector<uint32_t> open;
    std::vector<Edge> begins;
    for (uint32_t rule = 0; rule < rules(); ++rule) {
      const auto visit = [&](uint32_t state) {
        if (!seen[state]) seen[state] = true, open.push_back(state);
      };
      visit(raw_.rules[rule].start);
      while (!open.empty()) {
        const uint32_t state = open.back();
        open.pop_back();
        for (const Edge& edge : empties.of(state)) visit(edge.to);
        for (const Edge& edge : calls.of(state)) begins.push_back({rule, edge.label});
      }
    }
    return begins;
  }

  Error left_recursion(const std::vector<std::pair<uint32_t, size_t>>& path,
                       uint32_t target) const {
    std::string names;
    bool inside = false;
    for (const auto& [rule, seen] : path) {
      inside = inside || rule == target;
      if (inside && names.size() < 400) names += raw_.rules[rule].name + " -> ";
    }
    return fail(
        "rule '{}' is left-recursive: {}{}; write it so that something is read before the "
        "rule comes again, for instance as a repetition",
        raw_.rules[target].name, names, raw_.rules[target].name);
  }

  void store_edges() {
    const EdgeIndex bytes(raw_.bytes, states(), &Edge::from);
    const EdgeIndex calls(raw_.calls, states(), &Edge::from);
    const EdgeIndex empties(raw_.empties, states(), &Edge::from);
    for (const Edge& edge : bytes.items) grammar_.byte_edges_.push_back({edge.label, edge.to});
    for (const Edge& edge : calls.items) grammar_.call_edges_.push_back({edge.label, edge.to});
    for (const Edge& edge : empties.items) grammar_.empty_edges_.push_back(edge.to);
    grammar_.byte_begin_ = bytes.begin;
    grammar_.call_begin_ = calls.begin;
    grammar_.empty_begin_ = empties.begin;
    grammar_.state_rule_ = raw_.state_rule;
    grammar_.sets_ = raw_.sets;
    grammar_.repetitions_ = raw_.repetitions;
    std::sort(grammar_.repetitions_.begin(), grammar_.repetitions_.end(),
              [](const auto& a, const auto& b) { return a.first_state < b.first_state; });
    grammar_.rules_ = raw_.rules;
  }

  void find_first() {
    const EdgeIndex before(raw_.empties, states(), &Edge::to);
    const EdgeIndex callers(raw_.calls, rules(), &Edge::label);
    auto& first = grammar_.first_;
    first.resize(states());
    for (const Edge& edge : raw_.bytes) first[edge.from] |= raw_.sets[edge.label];
    std::vector<uint32_t> open(states());
    std::vector<bool> queued(states(), true);
    for (uint32_t state = 0; state < states(); ++state) open[state] = state;
    while (!open.empty()) {
      const uint32_t state = open.back();
      open.pop_back();
      queued[state] = false;
      const auto spread = [&](uint32_t to) {
        const ByteSet joined = first[to] | first[state];
        if (joined == first[to]) return;
        first[to] = joined;
        if (!queued[to]) queued[to] = true, open.push_back(to);
      };
      for (const Edge& edge : before.of(state)) spread(edge.from);
      if (!is_start(state)) continue;
      for (const Edge& edge : callers.of(raw_.state_rule[state])) spread(edge.from);
    }
    auto& finishes = grammar_.finishes_;
    finishes.assign(states(), 0);
    const auto mark = [&](uint32_t state) {
      if (!finishes[state]) finishes[state] = 1, open.push_back(state);
    };
    for (const auto& rule : raw_.rules) mark(rule.end);
    while (!open.empty()) {
      const uint32_t state = open.back();
      open.pop_back();
      for (const Edge& edge : before.of(state)) mark(edge.from);
    }
  }

  void find_follow() {
    // Where a rule may end with the call of another, what follows the one follows the other.
    std::vector<Edge> inherit;
    auto& all = grammar_.rules_;
    for (const Edge& call : raw_.calls) {
      all[call.label].follow |= grammar_.first_[call.to];
      if (grammar_.finishes_[call.to]) inherit.push_back({raw_.state_rule[call.from], call.label});
    }
    const EdgeIndex heirs(inherit, rules(), &Edge::from);
    std::vector<uint32_t> open(rules());
    for (uint32_t rule = 0; rule < rules(); ++rule) open[rule] = rule;
    while (!open.empty()) {
      const ByteSet follow = all[open.back()].follow;
      const auto edges = heirs.of(open.back());
      open.pop_back();
      for (const Edge& edge : edges) {
        const ByteSet joined = all[edge.to].follow | follow;
        if (joined != all[edge.to].follow) all[edge.to].follow = joined, open.push_back(edge.to);
      }
    }
  }

  // Dijkstra's method for texts of rules within rules (Knuth, "A generalization of Dijkstra's
  // algorithm", 1977).
  void find_shortest() {
    const EdgeIndex bytes(raw_.bytes, states(), &Edge::to);
    const EdgeIndex empties(raw_.empties, states(), &Edge::to);
    const EdgeIndex calls(raw_.calls, states(), &Edge::to);
    const EdgeIndex callers(raw_.calls, rules(), &Edge::label);
    constexpr uint64_t kFar = Grammar::kFar;
    auto& shortest = grammar_.shortest_;
    shortest.assign(states(), kFar);
    using Entry = std::pair<uint64_t, uint32_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
    const auto offer = [&](uint32_t state, uint64_t cost) {
      if (cost < shortest[state]) open.push({shortest[state] = cost, state});
    };
    for (const auto& rule : raw_.rules) offer(rule.end, 0);
    while (!open.empty()) {
      const auto [cost, state] = open.top();
      open.pop();
      if (cost != shortest[state]) continue;
      for (const Edge& edge : bytes.of(state)) offer(edge.from, cost + 1);
      for (const Edge& edge : empties.of(state)) offer(edge.from, cost);
      for (const Edge& edge : calls.of(state)) {
        offer(edge.from, cost + shortest[raw_.rules[edge.label].start]);
      }
      if (!is_start(state)) continue;
      for (const Edge& edge : callers.of(raw_.state_rule[state])) {
        offer(edge.from, cost + shortest[edge.to]);
      }
    }
  }

  void classify_bytes() {
    std::vector<bool> seen(raw_.sets.size());
    std::array<uint16_t, 256> byte_class{};
    uint16_t count = 1;
    for (const Edge& edge : raw_.bytes) {
      if (seen[edge.label] || count == 256) continue;
      seen[edge.label] = true;
      // Each class parts into the bytes inside and outside the set.
      std::array<uint16_t, 512> fresh;
      fresh.fill(UINT16_MAX);
      uint16_t next = 0;
      for (size_t byte = 0; byte < 256; ++byte) {
        uint16_t& id = fresh[2 * byte_class[byte] + raw_.sets[edge.label][byte]];
        if (id == UINT16_MAX) id = next++;
        byte_class[byte] = id;
      }
      count = next;
    }
    grammar_.byte_classes_ = count;
    grammar_.byte_of_.resize(count);
    for (size_t byte = 256; byte-- > 0;) {
      grammar_.class_of_[byte] = static_cast<uint8_t>(byte_class[byte]);
      grammar_.byte_of_[byte_class[byte]] = static_cast<uint8_t>(byte);
    }
  }

  RawGrammar raw_;
  std::vector<bool> productive_;  // [states]
  Grammar grammar_;
};

Result<Grammar> analyse_grammar(RawGrammar raw) {
  return GrammarAnalysis(std::move(raw)).run();
}

uint32_t Grammar::representative(uint32_t state, uint32_t bytes) const {
  auto it = std::upper_bound(
      repetitions_.begin(), repetitions_.end(), state,
      [](uint32_t value, const Repetition& each) { return value < each.first_state; });
  if (it == repetitions_.begin()) return state;
  const Repetition& repetition = *--it;
  const uint64_t at = state - repetition.first_state;
  const uint64_t min = repetition.min;
  const uint64_t last = repetition.max == kUnlimited ? min : repetition.max;
  if (at > last) return state;
  // So far from the minimum that no text of this length reaches it.
  if (at + bytes <= min) return static_cast<uint32_t>(repetition.first_state + min - bytes);
  // Beyond the minimum, and so far from the maximum.
  if (at < min || repetition.max == kUnlimited || at + bytes > last) return state;
  return static_cast<uint32_t>(repetition.first_state + min);
}

}  // namespace skvis
