// SPDX-License-Identifier: Apache-2.0
// Fits the gates of selector `gate` to what KVzip's second reading says of calibration texts.
//
// What is fitted is not KVzip's score but its rank among all rows and heads of the text, from 0 to
// 1: a plan only uses the order, across heads as well, and the scores themselves are so uneven
// (most near 0, a few near 1) that a regression would see little but the largest. Ranks also mean
// the same for every length of text, and a threshold of 0.5 drops about half of the rows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/half.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "engine/engine.hpp"
#include "eval/gate_fit.hpp"

namespace skvis {

using CalibrationProgress = std::function<void(size_t done, size_t total)>;

// Rows of texts as one layer's gate sees them, and what it should answer. The first rows of a text,
// which no plan drops, are left out.
struct GateRows {
  static constexpr uint32_t kSkip = 4;

  size_t layers = 0;
  size_t heads = 0;  // KV heads of a layer
  size_t group = 0;  // query heads of each
  size_t hidden = 0;
  size_t rows = 0;
  std::vector<std::vector<BFloat16>> inputs;  // [layers][rows, hidden] the attention input
  std::vector<std::vector<float>> targets;    // [layers][rows, heads] ranks of KVzip's scores
};

// Reads every text under the engine's plan, which must be KVzip's with all rows kept. A texts' rows
// follow each other. Inputs take 2 bytes of memory a number.
Result<GateRows> gate_rows(Engine& engine, std::span<const std::vector<uint32_t>> texts,
                           const CalibrationProgress& progress = {});

// From 0 to 1 in the order of `values`, equal ones alike.
void replace_by_ranks(std::span<float> values);

struct GateFit {
  uint32_t epochs = 12;
  uint32_t batch = 128;  // rows
  double rate = 3e-3;    // falls to nothing along a cosine
  uint32_t seed = 1;
};
// One gate per layer; `progress` counts epochs.
std::vector<GateLayer> fit_gates(const GateRows& rows, const GateFit& fit, ThreadPool& threads,
                                 const CalibrationProgress& progress = {});

// Spearman's rank correlation of gates and targets.
struct GateQuality {
  double all = 0;              // over all rows, heads and layers together: what decides a plan
  std::vector<double> layers;  // of each layer's rows and heads
  std::vector<double> heads;   // [layers * heads] of each head's rows
};
GateQuality judge_gates(std::span<const GateLayer> gates, const GateRows& rows,
                        ThreadPool& threads);

}  // namespace skvis
