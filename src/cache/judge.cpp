// SPDX-License-Identifier: Apache-2.0
#include "cache/judge.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace skvis {

void AttentionStatistics::output_norms(const CacheShape&, HeadId, const RowsView& values,
                                       std::span<float> out) const {
  for (size_t j = 0; j < values.rows; ++j) {
    double sum = 0;
    for (size_t c = 0; c < values.head_dim; ++c) sum += std::fabs(double{values.row(j)[c]});
    out[j] = static_cast<float>(sum);
  }
}

Judge::Judge(SequenceCache& sequence, const AttentionStatistics& statistics, ThreadPool& threads)
    : sequence_(sequence),
      layout_(sequence.layout()),
      plan_(layout_.plan()),
      statistics_(statistics),
      threads_(threads),
      at_(sequence.committed()),
      scored_(layout_.heads()),
      counts_(layout_.heads()) {}

// Which rows may go: sinks, the exact tail and recent rows stay, and under a ratio what was judged
// before.
std::vector<uint8_t> Judge::droppable(uint32_t head, std::span<const LiveRow> rows) const {
  const uint32_t judged = layout_.head(head).judged_once ? sequence_.judged_end() : 0;
  const uint32_t begin = std::max(judged, plan_.sinks);
  const uint32_t end = at_ - std::min(at_, plan_.protected_tail());
  std::vector<uint8_t> may_go(rows.size(), 0);
  const size_t first = first_row_at(rows, begin);
  const size_t last = std::max(first, first_row_at(rows, end));
  std::fill(may_go.begin() + static_cast<ptrdiff_t>(first),
            may_go.begin() + static_cast<ptrdiff_t>(last), uint8_t{1});
  return may_go;
}

// The scatter matrix over the number of queries is their covariance.
void Judge::gather_moments(uint32_t head, HeadView& seen) const {
  const uint32_t from = layout_.needs().moments_from;
  const size_t head_dim = layout_.shape().head_dim;
  const size_t floats = layout_.moment_floats();
  const float* moments = sequence_.query_moments(head);
  seen.view.query_count = at_ - std::min(at_, from);
  const float scale = 1.0f / static_cast<float>(std::max(1u, seen.view.query_count));
  for (uint32_t g = 0; g < seen.view.group_size; ++g) {
    const float* of_query_head = moments + g * floats;
    seen.means.insert(seen.means.end(), of_query_head, of_query_head + head_dim);
    for (size_t i = head_dim; i < floats; ++i) {
      seen.covariances.push_back(of_query_head[i] * scale);
    }
  }
  seen.view.query_mean = seen.means.data();
  seen.view.query_covariance = seen.covariances.data();
}

// The first row whose column sums matter.
uint32_t Judge::columns_from(const HeadView& seen) const {
  const auto first = std::find(seen.droppable.begin(), seen.droppable.end(), 1);
  const auto index = static_cast<uint32_t>(first - seen.droppable.begin());
  return index - std::min(index, layout_.needs().neighbours);
}

HeadView Judge::look(uint32_t head) const {
  const CacheShape& shape = layout_.shape();
  const SelectorNeeds& needs = layout_.needs();
  HeadView seen;
  seen.rows = live_rows(sequence_, head, at_);
  const size_t rows = seen.rows.size();
  seen.positions.resize(rows);
  seen.exact.resize(rows);
  for (size_t i = 0; i < rows; ++i) {
    seen.positions[i] = seen.rows[i].position;
    seen.exact[i] = seen.rows[i].page == LiveRow::kExact;
  }
  seen.droppable = droppable(head, seen.rows);
  SelectorView& view = seen.view;
  view.id = shape.head(head);
  view.group_size = shape.group_size();
  view.rows = static_cast<uint32_t>(rows);
  view.tokens = at_;
  view.positions = seen.positions.data();
  view.droppable = seen.droppable.data();
  view.exact = seen.exact.data();
  view.attention_scale = shape.attention_scale;
  view.rotary = &shape.rotary;
  view.data = plan_.keep.data.get();
  view.head_state = sequence_.head_state(head);
  if (needs.observe > 0) {
    view.query_rows = std::min(needs.observe, at_);
    seen.columns.resize((needs.reduce == GroupReduce::none ? view.group_size : 1) * rows);
    view.columns_from = columns_from(seen);
    const uint32_t from = view.columns_from < rows ? view.positions[view.columns_from] : at_;
    statistics_.column_sums(sequence_, head, view.query_rows, needs.reduce, from, seen.columns);
    view.columns = seen.columns.data();
  }
  const uint32_t own = layout_.own_state();
  for (const LiveRow& row : seen.rows) {
    if (layout_.state_floats() == 0) break;
    const float* state = row_state(sequence_, head, row);
    if (own > 0) seen.totals.push_back(state[0]);
    seen.state.insert(seen.state.end(), state + own, state + layout_.state_floats());
  }
  if (needs.totals) view.totals = seen.totals.data();
  if (!seen.state.empty()) view.state = seen.state.data();
  if (needs.query_moments) gather_moments(head, seen);
  const auto gather = [&](Role role, std::vector<float>& memory) -> RowsView {
    memory.resize(rows * shape.head_dim);
    decode_rows(sequence_, head, role, seen.rows, memory.data());
    return {memory.data(), rows, shape.head_dim, shape.head_dim};
  };
  if (needs.keys) view.keys = gather(Role::key, seen.keys);
  if (needs.values || needs.output_norms) view.values = gather(Role::value, seen.values);
  if (needs.output_norms) {
    seen.norms.resize(rows);
    statistics_.output_norms(shape, view.id, view.values, seen.norms);
    view.output_norms = seen.norms.data();
  }
  return seen;
}

void Judge::score(uint32_t head) {
  if (!layout_.head(head).selectable) return;
  const KeepRule& keep = plan_.keep;
  HeadView seen = look(head);
  std::vector<float>& scores = scored_[head].scores;
  scores.resize(seen.rows.size());
  keep.selector->score(keep.settings, seen.view, scores.data());
  for (const Refinement* refinement : keep.refine) {
    if (!refinement->after_budget) refinement->apply(keep.settings, seen.view, scores.data());
  }
  // The selector may have changed its state.
  const uint32_t floats = keep.selector->state_per_row;
  for (size_t j = 0; j < seen.rows.size() && floats > 0; ++j) {
    std::memcpy(row_state(sequence_, head, seen.rows[j]) + layout_.own_state(),
                seen.state.data() + j * floats, floats * sizeof(float));
  }
  scored_[head].rows = std::move(seen.rows);
}

// Gives every row of the layer's heads the mean score of the rows at its position.
void Judge::average_scores(uint32_t layer) {
  const uint32_t heads = layout_.shape().kv_heads;
  std::vector<double> sums(at_);
  std::vector<uint32_t> counts(at_);
  for (uint32_t index = layer * heads; index < (layer + 1) * heads; ++index) {
    const Scored& scored = scored_[index];
    for (size_t i = 0; i < scored.scores.size(); ++i) {
      sums[scored.rows[i].position] += scored.scores[i];
      ++counts[scored.rows[i].position];
    }
  }
  for (uint32_t index = layer * heads; index < (layer + 1) * heads; ++index) {
    Scored& scored = scored_[index];
    for (size_t i = 0; i < scored.scores.size(); ++i) {
      const uint32_t position = scored.rows[i].position;
      scored.scores[i] = static_cast<float>(sums[position] / counts[position]);
    }
  }
}

bool Judge::scores_ahead() const {
  return plan_.keep.budget->needs_scores || plan_.keep.selector->per_layer;
}

void Judge::score_layers(uint32_t first, uint32_t last) {
  const uint32_t heads = layout_.shape().kv_heads;
  threads_.run(size_t{last - first} * heads,
               [&](size_t i, size_t) { score(first * heads + static_cast<uint32_t>(i)); });
  for (uint32_t layer = first; layer < last && plan_.keep.selector->per_layer; ++layer) {
    average_scores(layer);
  }
}

std::vector<double> Judge::layer_scores(uint32_t layer) const {
  const uint32_t heads = layout_.shape().kv_heads;
  std::vector<double> sums(at_, -std::numeric_limits<double>::infinity());
  for (uint32_t index = layer * heads; index < (layer + 1) * heads; ++index) {
    const Scored& scored = scored_[index];
    for (size_t i = 0; i < scored.scores.size(); ++i) {
      double& sum = sums[scored.rows[i].position];
      sum = (std::isinf(sum) ? 0.0 : sum) + scored.scores[i];
    }
  }
  return sums;
}

void Judge::count() {
  BudgetRequest request = plan_.budget_request(at_);
  std::vector<std::vector<float>> judged(layout_.heads());
  std::vector<std::span<const float>> scores(layout_.heads());
  std::vector<uint32_t> fixed(layout_.heads());
  if (plan_.keep.budget->needs_scores) {
    for (uint32_t index = 0; index < layout_.heads(); ++index) {
      const Scored& scored = scored_[index];
      const std::vector<uint8_t> may_go = droppable(index, scored.rows);
      for (size_t i = 0; i < may_go.size(); ++i) {
        if (may_go[i]) judged[index].push_back(scored.scores[i]);
      }
      scores[index] = judged[index];
      fixed[index] = static_cast<uint32_t>(scored.rows.size() - judged[index].size());
    }
    request.scores = scores;
    request.fixed_rows = fixed;
  }
  plan_.keep.budget->counts(request, counts_);
}

// The best rows stay, as many as the head may keep; of equal scores the older one. Those of minus
// infinity go in any case.
std::vector<uint8_t> Judge::choose(const HeadView& seen, const std::vector<float>& scores) const {
  std::vector<uint8_t> dropped(seen.rows.size(), 0);
  std::vector<uint32_t> candidates;
  // Rows that may go lie side by side.
  const auto first = std::find(seen.droppable.begin(), seen.droppable.end(), 1);
  const auto last = std::find(first, seen.droppable.end(), 0);
  const size_t fixed = seen.rows.size() - static_cast<size_t>(last - first);
  for (auto row = first; row != last; ++row) {
    const auto i = static_cast<uint32_t>(row - seen.droppable.begin());
    if (scores[i] == -std::numeric_limits<float>::infinity()) {
      dropped[i] = 1;
    } else {
      candidates.push_back(i);
    }
  }
  const size_t quota = seen.view.keep - std::min<size_t>(seen.view.keep, fixed);
  if (quota >= candidates.size()) return dropped;
  std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(quota),
                   candidates.end(), [&](uint32_t a, uint32_t b) {
                     return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                   });
  for (size_t i = quota; i < candidates.size(); ++i) dropped[candidates[i]] = 1;
  return dropped;
}

Judge::Verdict Judge::verdict(uint32_t head) {
  const KeepRule& keep = plan_.keep;
  if (!scores_ahead()) score(head);
  std::vector<float> scores = std::move(scored_[head].scores);
  const auto late = [](const Refinement* refinement) { return refinement->after_budget; };
  const bool looks_again = keep.selector->rerank != nullptr || keep.selector->merge != nullptr ||
                           std::any_of(keep.refine.begin(), keep.refine.end(), late);
  HeadView seen;
  if (looks_again) {
    seen = look(head);
  } else {
    seen.rows = std::move(scored_[head].rows);
    seen.droppable = droppable(head, seen.rows);
  }
  seen.view.keep = counts_[head];
  if (keep.selector->rerank != nullptr) {
    keep.selector->rerank(keep.settings, seen.view, scores.data());
  }
  for (const Refinement* refinement : keep.refine) {
    if (late(refinement)) refinement->apply(keep.settings, seen.view, scores.data());
  }
  Verdict verdict;
  verdict.dropped = choose(seen, scores);
  if (keep.selector->merge != nullptr) {
    std::vector<uint32_t> kept;
    for (uint32_t i = 0; i < seen.rows.size(); ++i) {
      if (!verdict.dropped[i]) kept.push_back(i);
    }
    verdict.merges = keep.selector->merge(keep.settings, seen.view, scores.data(), kept);
  }
  scored_[head] = {};
  verdict.rows = std::move(seen.rows);
  return verdict;
}

void Judge::merge(uint32_t head, const Verdict& verdict) {
  if (verdict.merges.empty()) return;
  const size_t head_dim = layout_.shape().head_dim;
  const size_t floats = verdict.rows.size() * head_dim;
  std::vector<float> rows(floats), sums(floats, 0.0f);
  std::vector<uint8_t> is_target(verdict.rows.size(), 0);
  for (const Merge& merge : verdict.merges) is_target[merge.target] = 1;
  for (const Role role : {Role::key, Role::value}) {
    decode_rows(sequence_, head, role, verdict.rows, rows.data());
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (const Merge& merge : verdict.merges) {
      const float weight = role == Role::key ? merge.key_weight : merge.value_weight;
      for (size_t c = 0; c < head_dim; ++c) {
        sums[merge.target * head_dim + c] += weight * rows[merge.row * head_dim + c];
      }
    }
    for (size_t i = 0; i < verdict.rows.size(); ++i) {
      if (!is_target[i] || verdict.rows[i].page != LiveRow::kExact) continue;
      const uint32_t position = verdict.rows[i].position;
      store_exact(plan_.exact_type, sums.data() + i * head_dim, head_dim,
                  role == Role::key ? sequence_.exact_key(head, position)
                                    : sequence_.exact_value(head, position));
    }
  }
}

}  // namespace skvis
