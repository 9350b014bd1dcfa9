// SPDX-License-Identifier: Apache-2.0
#include "engine/filtered_prompt.hpp"

#include <algorithm>
#include <numeric>

#include "attention/attention_step.hpp"
#include "attention/survivor_step.hpp"
#include "cache/judge.hpp"

namespace skvis {
namespace {

constexpr uint32_t kRowsAtOnce = 256;
constexpr uint32_t kManyRows = 1u << 30;

}  // namespace

uint32_t newest_survivors(const CacheLayout& layout) {
  return std::max({layout.plan().protected_tail(), layout.observe(), 1u});
}

// How many of a prompt's `rows` rows the layer after `layer` sees.
uint32_t FilteredPrompt::staying(uint32_t layer, uint32_t rows) const {
  const CacheLayout& layout = sequence_.layout();
  const KeepRule& keep = layout.plan().keep;
  return keep.selector->propagate(keep.settings, layer, layout.shape().layers, rows);
}

// Where rows may be left behind does not depend on how many there are: selectors name layers, and
// lose none of few rows.
FilteredPrompt::Stage FilteredPrompt::stage_at(uint32_t first) const {
  const uint32_t layers = sequence_.layout().shape().layers;
  uint32_t last = first;
  while (last + 1 < layers &&
         staying(last, kManyRows) >= (first == 0 ? kManyRows : staying(first - 1, kManyRows))) {
    ++last;
  }
  // The layer that leaves rows behind still sees all of them.
  return {.first = first, .last = last + 1};
}

Result<void> FilteredPrompt::read(std::span<const uint32_t> tokens) {
  const auto count = static_cast<uint32_t>(tokens.size());
  const uint32_t begin = sequence_.length();
  const Stage stage = stage_at(0);
  SKVIS_CHECK(sequence_.wait(begin, count));
  std::vector<StepRow> rows;
  for (const uint32_t token : tokens) rows.push_back({.token = static_cast<int32_t>(token)});
  const SequenceSlice slice{.sequence = &sequence_, .rows = count};
  SKVIS_TRY(const auto step, AttentionStep::begin({&slice, 1}, threads_));
  const size_t width = model_.config().hidden_size;
  std::vector<float> hidden(count * width);
  SKVIS_CHECK(model_.forward(rows, *step, {}, threads_,
                             {.first = 0, .last = stage.last, .out = hidden.data()}));
  step->commit_all();
  for (uint32_t row = 0; row < count; ++row) {
    std::copy_n(hidden.data() + row * width, width, sequence_.waiting_hidden(begin + row));
  }
  return {};
}

// The rows that go on after `layer`: sinks, the newest rows and the best of the others among those
// that wait, ascending.
std::vector<uint32_t> FilteredPrompt::best_rows(uint32_t layer, uint32_t count) const {
  const Plan& plan = sequence_.layout().plan();
  Judge judge(sequence_, statistics_, threads_);
  judge.score_layers(layer, layer + 1);
  const std::vector<double> scores = judge.layer_scores(layer);
  const uint32_t end = sequence_.waiting_end();
  const uint32_t newest = end - std::min(end, newest_survivors(sequence_.layout()));
  std::vector<uint32_t> stays, others;
  for (uint32_t position = sequence_.waiting_begin(); position < end; ++position) {
    const uint32_t head = sequence_.layout().shape().index({layer, 0});
    const bool sink = position < plan.sinks;
    if (!sink && sequence_.open_live(head, position, 1) == 0) continue;  // left behind before
    (sink || position >= newest ? stays : others).push_back(position);
  }
  const size_t quota =
      std::min<size_t>(others.size(), count - std::min<size_t>(count, stays.size()));
  std::nth_element(others.begin(), others.begin() + static_cast<ptrdiff_t>(quota), others.end(),
                   [&](uint32_t a, uint32_t b) {
                     return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                   });
  stays.insert(stays.end(), others.begin(), others.begin() + static_cast<ptrdiff_t>(quota));
  std::sort(stays.begin(), stays.end());
  return stays;
}

// Waiting rows that are not among `staying` do not exist from `layer` on.
void FilteredPrompt::leave_behind(uint32_t layer, std::span<const uint32_t> staying) {
  const CacheShape& shape = sequence_.layout().shape();
  auto next = staying.begin();
  for (uint32_t position = sequence_.waiting_begin(); position < sequence_.waiting_end();
       ++position) {
    if (next != staying.end() && *next == position) {
      ++next;
      continue;
    }
    for (uint32_t i = layer; i < shape.layers; ++i) {
      if (!sequence_.layout().owns(i)) continue;
      for (uint32_t head = 0; head < shape.kv_heads; ++head) {
        sequence_.drop_exact(shape.index({i, head}), position);
      }
    }
  }
}

Result<void> FilteredPrompt::run(const Stage& stage, std::span<const uint32_t> rows,
                                 uint32_t logits_rows, std::span<float> logits) {
  const size_t width = model_.config().hidden_size;
  size_t written = 0;
  for (size_t first = 0; first < rows.size(); first += kRowsAtOnce) {
    const size_t count = std::min<size_t>(kRowsAtOnce, rows.size() - first);
    std::vector<float> hidden(count * width);
    std::vector<StepRow> step_rows(count);
    size_t wanted = 0;
    for (size_t i = 0; i < count; ++i) {
      std::copy_n(sequence_.waiting_hidden(rows[first + i]), width, hidden.data() + i * width);
      step_rows[i].wants_logits = first + i + logits_rows >= rows.size();
      wanted += step_rows[i].wants_logits;
    }
    SurvivorStep step(sequence_, rows.subspan(first, count), threads_);
    const size_t floats = wanted * model_.config().vocab_size;
    SKVIS_CHECK(model_.forward(
        step_rows, step, logits.subspan(written, floats), threads_,
        {.first = stage.first, .last = stage.last, .in = hidden.data(), .out = hidden.data()}));
    written += floats;
    for (size_t i = 0; i < count; ++i) {
      std::copy_n(hidden.data() + i * width, width, sequence_.waiting_hidden(rows[first + i]));
    }
  }
  return {};
}

Result<void> FilteredPrompt::finish(uint32_t logits_rows, std::span<float> logits) {
  const uint32_t layers = sequence_.layout().shape().layers;
  const uint32_t waiting = sequence_.waiting_end() - sequence_.waiting_begin();
  std::vector<uint32_t> rows(waiting);
  std::iota(rows.begin(), rows.end(), sequence_.waiting_begin());
  // A prompt that fits into the amount loses nothing anywhere (FastKV).
  const Amount& amount = sequence_.layout().plan().keep.amount;
  const bool fits = amount.unit == AmountUnit::tokens && waiting <= amount.value;
  Stage stage = stage_at(0);
  while (stage.last < layers) {
    const uint32_t wanted = fits ? waiting : staying(stage.last - 1, waiting);
    if (wanted < rows.size()) {
      rows = best_rows(stage.last - 1, wanted);
      leave_behind(stage.last, rows);
    }
    stage = stage_at(stage.last);
    const bool ends = stage.last == layers;
    SKVIS_CHECK(run(stage, rows, ends ? logits_rows : 0, ends ? logits : std::span<float>()));
  }
  sequence_.stop_waiting();
  return {};
}

}  // namespace skvis
