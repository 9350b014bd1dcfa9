// SPDX-License-Identifier: Apache-2.0
// The states of a grammar's pushdown automaton, made as texts need them and kept, so that the next
// byte of a text seen before is one load. Not thread-safe.
//
// A stack is shared: a node stands for "a rule was called", and holds the frames (where the caller
// goes on, and the caller's own node) of all callers at that place of the text. Nodes with the same
// frames are one node, configurations with the same items are one configuration; the work per byte
// is polynomial however ambiguous the grammar (Tomita's graph-structured stack, in the form of
// Scott and Johnstone's GLL, 2010, without left recursion).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "grammar/grammar.hpp"

namespace skvis {

using ConfigurationId = uint32_t;
using StackNodeId = uint32_t;

// A set of lists of pairs in one pool, each list stored once.
class InternedLists {
 public:
  struct Pair {
    uint32_t state;
    StackNodeId node;
    bool operator==(const Pair&) const = default;
    // By node first: items of one node are read together.
    auto operator<=>(const Pair& other) const {
      const auto nodes = node <=> other.node;
      return nodes != 0 ? nodes : state <=> other.state;
    }
  };

  InternedLists();
  // The number of the list with these pairs and this tag, new or known.
  uint32_t intern(std::span<const Pair> pairs, uint32_t tag);
  std::span<const Pair> pairs(uint32_t id) const {
    return {pool_.data() + begin_[id], pool_.data() + begin_[id + 1]};
  }
  uint32_t tag(uint32_t id) const { return tags_[id]; }
  uint32_t size() const { return static_cast<uint32_t>(tags_.size()); }
  size_t bytes() const;

 private:
  static uint64_t hash(std::span<const Pair> pairs, uint32_t tag);
  void grow();

  std::vector<Pair> pool_;
  std::vector<uint32_t> begin_ = {0};  // [size + 1]
  std::vector<uint32_t> tags_;         // [size]
  std::vector<uint32_t> slots_;        // open addressing; number plus one, 0 is free
};

class Configurations {
 public:
  using Item = InternedLists::Pair;  // in a configuration: where, and whose call

  static constexpr ConfigurationId kDead = 0;  // no text goes on from here
  // A configuration or a node of more entries than this is refused: the grammar is too ambiguous.
  static constexpr size_t kMaxItems = 4096;
  // Steps over edges that one public call of an automaton may take: about a second.
  static constexpr uint64_t kWork = uint64_t{1} << 26;
  static constexpr size_t kHardBytes = size_t{256} << 20;

  // `grammar` must outlive this object.
  explicit Configurations(const Grammar& grammar);

  ConfigurationId start();
  // Within the rule of `state`, as if nothing were known of its callers.
  ConfigurationId local(uint32_t state);
  // Where the callers of `node` go on.
  ConfigurationId behind(StackNodeId node);

  // After one more byte. kDead also where a limit was exceeded: see exhausted().
  ConfigurationId next(ConfigurationId id, uint8_t byte) {
    const uint32_t known = rows_[id * size_t{classes_} + grammar_.class_of(byte)];
    return known != kUnknown ? known : step(id, byte);
  }

  // The configuration after any one plain byte (TokenVocabulary::is_plain), if that is the same for
  // all of them; else kDead.
  ConfigurationId next_plain(ConfigurationId id) {
    return id < plain_.size() && plain_[id] != kUnknown ? plain_[id] : find_plain(id);
  }

  std::span<const Item> items(ConfigurationId id) const { return configurations_.pairs(id); }
  // The whole text may end here.
  bool ends(ConfigurationId id) const { return configurations_.tag(id) & kEnds; }
  // From local(): the rule may end here.
  bool returns(ConfigurationId id) const { return configurations_.tag(id) & kReturns; }
  // Bytes of the shortest text that may end the whole, saturating at Grammar::kFar.
  uint64_t shortest(ConfigurationId id);

  void allow_work() { work_left_ = kWork, exhausted_ = false; }
  bool exhausted() const { return exhausted_; }
  size_t bytes() const;

  // Only what the configurations of `roots` need, in a new object; `roots` become its numbers.
  std::unique_ptr<Configurations> compacted(std::span<ConfigurationId> roots) const;

 private:
  static constexpr uint32_t kUnknown = UINT32_MAX;
  static constexpr uint32_t kEnds = 1, kReturns = 2;
  // Nodes without frames: the end of the whole text, and the unknown caller of local().
  static constexpr StackNodeId kBottom = 0, kUnknownCaller = 1;
  // A call in last place passes on its rule's frames, up to so many, in place of a frame of its
  // own: stacks of right recursion do not grow.
  static constexpr size_t kInherited = 8;

  struct Call {
    uint32_t order;  // of the called rule
    uint32_t rule;
    Item frame;
    auto operator<=>(const Call&) const = default;
  };

  ConfigurationId step(ConfigurationId id, uint8_t byte);
  ConfigurationId find_plain(ConfigurationId id);
  void expand(uint32_t state, StackNodeId node, uint8_t byte);
  void call(const Grammar::CallEdge& edge, uint32_t rule, StackNodeId node);
  ConfigurationId close(std::vector<Item>& reached);
  ConfigurationId intern(std::span<const Item> items, uint32_t tag);
  bool spend(size_t work);
  std::vector<StackNodeId> reachable(std::span<const ConfigurationId> roots) const;

  const Grammar& grammar_;
  const uint32_t classes_;
  InternedLists nodes_;
  InternedLists configurations_;
  std::vector<uint32_t> rows_;        // [configurations, byte classes]
  std::vector<uint32_t> behind_;      // [nodes], kUnknown until asked for
  std::vector<uint32_t> plain_;       // [configurations], the same
  std::vector<uint8_t> plain_bytes_;  // one of each class that has plain bytes
  std::vector<uint64_t> distance_;    // [nodes] shortest(), as far as asked for
  uint64_t work_left_ = kWork;
  bool exhausted_ = false;

  // Scratch of a step.
  std::vector<Call> calls_;  // a heap, smallest order first
  std::vector<Item> reached_, frames_, kept_;
  std::vector<uint32_t> open_;
  std::vector<uint32_t> seen_;  // [states] the number of the walk that saw it last
  uint32_t walk_ = 0;
};

}  // namespace skvis
