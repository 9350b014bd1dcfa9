// SPDX-License-Identifier: Apache-2.0
// A gate on the attention input judges every row as it is written (Fast KVzip): what KVzip's second
// reading would say of it, learnt beforehand by `skvis calibrate gate`. With h the attention input
// of row j, for each query head g of a KV head:
//
//   q = norm(W_q h + b_q)   k = norm(W_k h)                     [16] each, norm is RMSNorm
//   gate[g] = 1 / (1 + sum over the anchors s of exp(a_s . q / 4 - k . q / 4 - b))
//   score[j] = mean over g of gate[g], between 0 and 1
//
// Query and key are the same token's: nothing but h is looked at, so that scores exist before
// attention and depend on neither later rows nor slices.
//
// `threshold` drops rows that score below it, whatever the budget leaves (DMS): ratio 1 then makes
// it the only rule, and how many rows stay is up to the text.
//
// Data file, all of it floats; `group` are the query heads of a KV head:
//   gate.projection  [layers, kv_heads, (group + 1) * 16, hidden_size]  W_q of each query head in
//                    turn, then W_k
//   gate.query_bias  [layers, kv_heads, group, 16]
//   gate.query_norm, gate.key_norm  [layers, 16]  weights of RMSNorm
//   gate.anchors     [layers, kv_heads, 16, 16]  one anchor after the other
//   gate.bias        [layers, kv_heads, group]
#include <array>
#include <cmath>
#include <limits>

#include "kernels/table.hpp"
#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr size_t kWidth = 16;  // of projected queries and keys
constexpr size_t kAnchors = 16;
constexpr uint32_t kMostGroup = 63;  // query heads of a KV head
constexpr float kEpsilon = 1e-6f;    // of RMSNorm
constexpr std::string_view kProjection = "gate.projection";
constexpr std::string_view kQueryBias = "gate.query_bias";
constexpr std::string_view kQueryNorm = "gate.query_norm";
constexpr std::string_view kKeyNorm = "gate.key_norm";
constexpr std::string_view kAnchorRows = "gate.anchors";
constexpr std::string_view kBias = "gate.bias";

constexpr Parameter kThreshold = {
    .name = "threshold", .fallback = 0, .min = 0, .max = 1, .whole = false};
constexpr std::array<Parameter, 1> kParameters = {kThreshold};

SelectorNeeds needs(const Settings&) {
  return {};
}

Result<void> check_data(const NamedTensors& data, const CacheShape& shape) {
  const size_t group = shape.group_size();
  const size_t hidden = shape.hidden_size;
  if (group > kMostGroup || hidden == 0 || hidden % 8 != 0) {
    return fail(
        "a gate needs at most {} query heads per KV head and a hidden size that is a "
        "multiple of 8; this model has {} and {}",
        kMostGroup, group, hidden);
  }
  const size_t layers = shape.layers, heads = shape.kv_heads;
  const std::array<std::pair<std::string_view, std::vector<size_t>>, 6> expected = {{
      {kProjection, {layers, heads, (group + 1) * kWidth, hidden}},
      {kQueryBias, {layers, heads, group, kWidth}},
      {kQueryNorm, {layers, kWidth}},
      {kKeyNorm, {layers, kWidth}},
      {kAnchorRows, {layers, heads, kAnchors, kWidth}},
      {kBias, {layers, heads, group}},
  }};
  for (const auto& [name, dimensions] : expected) {
    const auto it = data.find(name);
    if (it != data.end() && it->second.shape == dimensions) continue;
    return fail("expected a tensor {} of shape [{}]{}", name, fmt::join(dimensions, ", "),
                it == data.end() ? std::string()
                                 : fmt::format(", found [{}]", fmt::join(it->second.shape, ", ")));
  }
  return {};
}

// The part of a tensor that belongs to one head, or to one layer.
const float* part_of(const NamedTensors& data, std::string_view name, size_t index, size_t parts) {
  const NamedTensor& tensor = data.find(name)->second;
  return tensor.values.data() + index * (tensor.values.size() / parts);
}

void normalise(float* x, const float* weights) {
  float squares = 0;
  for (size_t c = 0; c < kWidth; ++c) squares += x[c] * x[c];
  const float factor = 1.0f / std::sqrt(squares / kWidth + kEpsilon);
  for (size_t c = 0; c < kWidth; ++c) x[c] *= factor * weights[c];
}

float dot(const float* a, const float* b) {
  float sum = 0;
  for (size_t c = 0; c < kWidth; ++c) sum += a[c] * b[c];
  return sum;
}

void observe(const Settings&, const NamedTensors* data, const RowInput& row, float* row_state) {
  const std::vector<size_t>& shape = data->find(kProjection)->second.shape;
  const size_t layers = shape[0], heads = shape[0] * shape[1];
  const size_t head = row.id.layer * shape[1] + row.id.head;
  std::array<float, (kMostGroup + 1) * kWidth> projected;
  kernels::active_kernels().row_dots[static_cast<size_t>(kernels::ElementType::f32)](
      {.matrix = part_of(*data, kProjection, head, heads),
       .tokens = shape[2],
       .depth = shape[3],
       .row_stride = shape[3],
       .x = row.hidden.data(),
       .x_stride = shape[3],
       .rows = 1,
       .out = projected.data(),
       .out_stride = projected.size()});
  float* k = projected.data() + row.group_size * kWidth;
  normalise(k, part_of(*data, kKeyNorm, row.id.layer, layers));
  const float* query_bias = part_of(*data, kQueryBias, head, heads);
  const float* query_norm = part_of(*data, kQueryNorm, row.id.layer, layers);
  const float* anchors = part_of(*data, kAnchorRows, head, heads);
  const float* bias = part_of(*data, kBias, head, heads);
  float sum = 0;
  for (uint32_t g = 0; g < row.group_size; ++g) {
    float* q = projected.data() + g * kWidth;
    for (size_t c = 0; c < kWidth; ++c) q[c] += query_bias[g * kWidth + c];
    normalise(q, query_norm);
    const float own = dot(k, q) / 4 + bias[g];
    float others = 0;
    for (size_t s = 0; s < kAnchors; ++s) {
      others += std::exp(dot(anchors + s * kWidth, q) / 4 - own);
    }
    sum += 1.0f / (1.0f + others);
  }
  const float score = sum / static_cast<float>(row.group_size);
  *row_state = std::isfinite(score) ? score : 0.0f;
}

void score(const Settings& settings, const SelectorView& view, float* scores) {
  const auto threshold = static_cast<float>(value_of(settings, kThreshold));
  for (uint32_t j = 0; j < view.rows; ++j) {
    scores[j] = view.state[j] < threshold ? -std::numeric_limits<float>::infinity() : view.state[j];
  }
}

}  // namespace

const Selector kGate = {
    .name = "gate",
    .summary = "what a small network makes of the attention input as a row is written (Fast KVzip)",
    .horizon = Horizon::row,
    .parameters = kParameters,
    .state_per_row = 1,
    .check_data = check_data,
    .needs = needs,
    .observe = observe,
    .score = score,
};

}  // namespace skvis
