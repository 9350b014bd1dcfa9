// SPDX-License-Identifier: Apache-2.0
// What has been read already, by its tokens: states that new sequences may begin with instead of
// reading the same tokens again.
//
// The state of a sequence at a grid point of its plan depends on the tokens before it and on
// nothing else (see settle.hpp), and its pages never change; so it may be published, and a prompt
// that begins with the same tokens begins with a fork of it. Tokens stand in a tree, one grid step
// an edge, apart for each plan and each salt; they are compared, not only their hashes. A kept
// conversation stands where its last grid point does, with the tokens behind that. A prompt that
// goes on from all of them takes it as it is; one that leaves it half way takes a fork that is cut
// back to the last token in common, if its plan allows that (SequenceCache::can_cut).
//
// Every page counts once, whoever holds it. States leave when their memory is needed, the least
// valuable first: many bytes, long not used, seldom used.
//
// Not thread-safe, like the pool, of which there is one for all states.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/sequence_cache.hpp"

namespace skvis {

struct PrefixFigures {
  size_t conversations = 0;
  size_t points = 0;     // published states
  size_t bytes = 0;      // of the pages that states hold, each once
  uint64_t dropped = 0;  // conversations that left for room, ever
  uint64_t dropped_points = 0;
};

class PrefixIndex {
  struct Node;

 public:
  struct State {
    SequenceCache sequence;
    std::vector<uint32_t> tail;  // tokens behind the grid point
    bool conversation = false;
    uint32_t first_prompt = 0;  // conversations: what their reservation follows from
    uint64_t hits = 0;
    uint64_t used = 0;     // when, by the index's own clock
    Node* node = nullptr;  // the index's own
  };
  using Handle = std::list<State>::iterator;

  // Where a prompt may begin.
  struct Found {
    Handle state;
    uint32_t tokens = 0;  // of the prompt: read already. 0: nothing was found
    bool whole = false;   // they are all tokens of a conversation, which may be taken
    explicit operator bool() const { return tokens > 0; }
  };

  PrefixIndex() = default;
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // The state with most tokens of the prompt, of which it leaves one at least to be read.
  Found find(const CacheLayout& layout, std::string_view salt, std::span<const uint32_t> prompt);
  // Notes that it is used.
  void touch(Handle state);
  // Gives a kept sequence the right to grow to `quota` pages again, those that it holds included.
  // False, changing nothing: that does not fit now.
  bool grow(Handle state, const Quota& quota);
  // Takes a conversation out; its pages are the caller's from now on.
  SequenceCache take(Handle state);

  enum class Published : uint8_t { now, before, no_room };
  // A fork of the sequence, which has just settled at a grid point, unless there is one already.
  // tokens: all that the sequence has read.
  Published publish(const SequenceCache& sequence, std::string_view salt,
                    std::span<const uint32_t> tokens);
  // Keeps a sequence that nobody uses for now, promised nothing beyond its pages.
  void keep(SequenceCache sequence, std::string_view salt, std::span<const uint32_t> tokens,
            uint32_t first_prompt);

  // What goes first when room is needed; end() where nothing is left. `rank` of a state: the higher
  // the sooner it goes, before all that the index knows of its value; spared if negative. Of equal
  // rank points go first that nobody has begun with yet, then what takes most bytes times its age
  // for each use.
  Handle least_valuable(const std::function<int64_t(const State&)>& rank);
  Handle end() { return states_.end(); }
  void drop(Handle state);
  void clear();

  uint64_t now() const { return clock_; }
  // Bytes of pages that nobody holds but states of the index.
  size_t reclaimable() const;
  const PrefixFigures& figures() const { return figures_; }

 private:
  struct TokensLess {
    using is_transparent = void;
    bool operator()(std::span<const uint32_t> a, std::span<const uint32_t> b) const;
  };
  struct Node {
    Node* parent = nullptr;
    uint32_t end = 0;  // the grid point
    std::map<std::vector<uint32_t>, std::unique_ptr<Node>, TokensLess> children = {};
    std::vector<Handle> states = {};
  };
  using RootKey = std::pair<uint64_t, std::string>;  // plan identity, salt

  Node& node_of(const CacheLayout& layout, std::string_view salt, std::span<const uint32_t> tokens);
  void consider(Handle state, std::span<const uint32_t> rest, uint32_t end, Found& best) const;
  void add(Node& node, State state);
  void remove(Handle state);
  void leave(const State& state);
  void prune(Node* node);
  static double bytes_of(const SequenceCache& sequence);

  std::map<RootKey, Node> roots_;
  std::list<State> states_;
  std::unordered_map<PageId, uint32_t> pages_;  // how many states hold each
  Pool* pool_ = nullptr;                        // of all states
  PrefixFigures figures_;
  uint64_t clock_ = 0;
};

}  // namespace skvis
