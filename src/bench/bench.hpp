// SPDX-License-Identifier: Apache-2.0
// Benchmarks of the parts, each against what the machine's memory allows. They print one line per
// case as it is done and answer everything as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "engine/engine.hpp"

namespace skvis {

// Decode attention of one step through real page tables with pages in random order, merging
// included.
struct AttentionBench {
  std::vector<std::string> codes = {"f16", "int8", "int4", "int4 hadamard"};  // keys and values
  std::vector<uint32_t> head_dims = {128, 64};
  std::vector<uint32_t> groups = {1, 4, 8};
  size_t bytes = size_t{256} << 20;  // encoded bytes per pass, at least
  uint32_t repeats = 21;
  size_t threads = 0;
};
Result<Json> bench_attention(const AttentionBench& options);

// Products with packed weights: generated rows against read bandwidth, prompt rows in FLOP/s.
struct DenseBench {
  uint32_t repeats = 21;
  size_t threads = 0;
};
Result<Json> bench_dense(const DenseBench& options);

// Attention split over 2, 8 and 64 workers by a table, beside handing out partials as they run.
struct SplitBench {
  uint32_t tokens = 4096;
  uint32_t repeats = 21;
  size_t threads = 0;
};
Result<Json> bench_split(const SplitBench& options);

// Whole steps of a model: several sequences of different lengths decode together.
struct DecodeBench {
  uint32_t sequences = 1;
  uint32_t context = 1024;  // tokens of the longest sequence; the others have fewer
  uint32_t steps = 32;
};
Result<Json> bench_decode(Engine& engine, const DecodeBench& options);

// What selectors cost while a prompt is read, when it settles, and at every generated token.
struct SelectBench {
  std::vector<std::string> plans;  // empty: every selector and refinement that needs no data file
  double ratio = 0.5;              // of those
  uint32_t context = 2048;
  uint32_t steps = 16;
  size_t kv_memory = size_t{1} << 30;
};
Result<Json> bench_select(const Engine& engine, const SelectBench& options);

// Masks of constrained decoding: documents under schemas, token by token, with nothing known of the
// schema and again with all known.
struct GrammarBench {
  uint32_t repeats = 21;
};
Result<Json> bench_grammar(const Tokenizer& tokenizer, const GrammarBench& options);

}  // namespace skvis
