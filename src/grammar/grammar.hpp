// SPDX-License-Identifier: Apache-2.0
// A compiled grammar: a context-free language over bytes, as one small automaton per rule.
//
// A state has edges of three kinds: over a byte (of a set) to another state; over a whole rule,
// which is matched with at least one byte, to the state where the caller goes on; and over nothing.
// A rule's text is complete in its end state, which has no edges. What is kept is productive: from
// every state that any edge leads to, some text reaches the end of the rule, so no prefix that the
// automaton accepts is a dead end. No rule begins with itself (left recursion is refused), so rules
// have an order in which each comes before those that it may begin with.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace skvis {

using ByteSet = std::bitset<256>;

// As the upper bound of a repetition: none.
constexpr uint32_t kUnlimited = UINT32_MAX;

class Grammar {
 public:
  struct ByteEdge {
    uint32_t set;     // see matches()
    uint32_t target;  // state
  };
  struct CallEdge {
    uint32_t rule;
    uint32_t target;  // state of the caller behind the rule
  };
  struct Rule {
    std::string name;
    uint32_t start = 0;
    uint32_t end = 0;
    uint32_t order = 0;  // smaller than that of every rule that this one may begin with
    ByteSet follow;      // bytes that may come behind the rule somewhere in the language
  };
  // A repetition with a bound: positions are consecutive states, one per element already read.
  struct Repetition {
    uint32_t first_state = 0;
    uint32_t min = 0;
    uint32_t max = 0;  // positions are 0 to max; kUnlimited: the last of min + 1 loops
  };

  size_t states() const { return state_rule_.size(); }
  size_t edges() const { return byte_edges_.size() + call_edges_.size() + empty_edges_.size(); }
  uint32_t root() const { return 0; }
  std::span<const Rule> rules() const { return rules_; }

  std::span<const ByteEdge> byte_edges(uint32_t state) const {
    return slice(byte_edges_, byte_begin_, state);
  }
  std::span<const CallEdge> call_edges(uint32_t state) const {
    return slice(call_edges_, call_begin_, state);
  }
  std::span<const uint32_t> empty_edges(uint32_t state) const {
    return slice(empty_edges_, empty_begin_, state);
  }
  uint32_t rule_of(uint32_t state) const { return state_rule_[state]; }
  // The rule may end here.
  bool finishes(uint32_t state) const { return finishes_[state]; }
  // Some byte may follow within the rule, and if so, which ones.
  bool continues(uint32_t state) const { return first_[state].any(); }
  const ByteSet& first(uint32_t state) const { return first_[state]; }
  // Bytes of the shortest text from here to the rule's end, saturating at kFar.
  uint64_t shortest(uint32_t state) const { return shortest_[state]; }
  static constexpr uint64_t kFar = uint64_t{1} << 60;

  // Bytes between which the grammar never distinguishes form a class: 1 to 256 of them.
  uint32_t byte_classes() const { return byte_classes_; }
  uint8_t class_of(uint8_t byte) const { return class_of_[byte]; }
  // Some byte of the class.
  uint8_t byte_of(uint32_t byte_class) const { return byte_of_[byte_class]; }
  bool matches(const ByteEdge& edge, uint8_t byte) const { return sets_[edge.set][byte]; }

  // A state from which texts of at most `bytes` bytes are the same as from `state`: within long
  // repetitions far from their bounds, one state stands for many. Otherwise `state` itself.
  uint32_t representative(uint32_t state, uint32_t bytes) const;

 private:
  friend class GrammarAnalysis;
  Grammar() = default;

  template <typename T>
  static std::span<const T> slice(const std::vector<T>& edges, const std::vector<uint32_t>& begin,
                                  uint32_t state) {
    return {edges.data() + begin[state], edges.data() + begin[state + 1]};
  }

  std::vector<Rule> rules_;
  std::vector<ByteSet> sets_;
  std::vector<ByteEdge> byte_edges_;
  std::vector<CallEdge> call_edges_;
  std::vector<uint32_t> empty_edges_;
  std::vector<uint32_t> byte_begin_, call_begin_, empty_begin_;  // [states + 1]
  std::vector<uint32_t> state_rule_;                             // [states]
  std::vector<uint8_t> finishes_;                                // [states]
  std::vector<ByteSet> first_;                                   // [states]
  std::vector<uint64_t> shortest_;                               // [states]
  std::vector<Repetition> repetitions_;                          // sorted by first_state
  uint32_t byte_classes_ = 1;
  std::array<uint8_t, 256> class_of_{};
  std::vector<uint8_t> byte_of_;  // [byte_classes]
};

}  // namespace skvis
