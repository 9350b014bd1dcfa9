// SPDX-License-Identifier: Apache-2.0
// Plans as one line and as JSON against a small shape with a sliding layer. What resolves must say
// the same when it is written out and read again, and its table must not fail.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "plan/plan.hpp"
#include "plan/table.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skvis;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Paths would be opened; the files behind them are not what is tested here.
  const bool path = text.find('/') != text.npos || text.find(".json") != text.npos;
  if (path && text.find('{') == text.npos) return 0;
  CacheShape shape;
  shape.layers = 3;
  shape.query_heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 16;
  shape.attention_scale = 0.25f;
  shape.window = {0, 32, 0};
  const auto plan = resolve_plan(text, shape);
  if (!plan) return 0;
  const auto again = resolve_plan(dump_json(plan_to_json(*plan)), shape);
  if (!again || again->identity != plan->identity) std::abort();
  if (plan_table(*plan, 1000).empty()) std::abort();
  if (plan->drops()) {
    std::vector<uint32_t> counts(plan->heads.size());
    std::vector<uint32_t> bound(plan->heads.size());
    plan->keep.budget->counts(plan->budget_request(777), counts);
    plan->keep.budget->upper_bound(plan->budget_request(1000), bound);
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > bound[i] || counts[i] > 777) std::abort();
    }
  }
  return 0;
}
