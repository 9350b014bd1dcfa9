// SPDX-License-Identifier: Apache-2.0
// What a plan buys in throughput: conversations of several turns that share one KV memory, through
// the same scheduler that serves. Two figures, never mixed: decode, when all prompts are read (what
// admitting more sequences buys), and the whole run (what not reading dropped conversations again
// buys as well), in which all have a turn before any has the next.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "engine/engine.hpp"

namespace skvis {

struct MultiturnBench {
  std::vector<std::string> plans = {"full"};
  uint32_t conversations = 16;
  uint32_t turns = 3;
  uint32_t context = 4096;  // tokens before the first turn
  uint32_t fresh = 64;      // tokens that every turn adds to the prompt
  uint32_t answer = 64;     // tokens that every turn generates
  size_t kv_memory = 0;     // bytes; 0: room for `full_sequences` under the plan `full`
  uint32_t full_sequences = 4;
  bool decode_only = false;

  // Of a conversation at the end of a turn.
  uint32_t tokens_after(uint32_t turn) const { return context + turn * (fresh + answer); }
};

// Runs the workload under each plan in turn and prints a report of each; the engine's own plan is
// replaced. `progress(what, done, total)`.
Result<Json> bench_multiturn(
    Engine& engine, const MultiturnBench& options,
    const std::function<void(std::string_view what, size_t done, size_t total)>& progress = {});

}  // namespace skvis
