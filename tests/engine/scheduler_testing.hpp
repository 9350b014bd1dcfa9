// SPDX-License-Identifier: Apache-2.0
// What tests of the scheduler share: asking, and what became of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/engine_testing.hpp"
#include "engine/scheduler.hpp"

namespace skvis::testing {

// What became of a request: exactly one call.
struct Outcome {
  std::optional<GenerationResult> result;
  std::string error;
  int calls = 0;
};

inline Scheduler::RequestId submit(Scheduler& scheduler, GenerationRequest request,
                                   Outcome& outcome, int priority = 0, std::string salt = {}) {
  return scheduler.submit({.generation = std::move(request),
                           .callbacks = {},
                           .on_done =
                               [&outcome](const GenerationResult& result) {
                                 outcome.result = result;
                                 ++outcome.calls;
                               },
                           .on_error =
                               [&outcome](const Error& error) {
                                 outcome.error = error.message;
                                 ++outcome.calls;
                               },
                           .salt = std::move(salt),
                           .priority = priority});
}

inline void run_all(Scheduler& scheduler) {
  while (scheduler.step()) {
  }
}

inline std::vector<uint32_t> some_prompt(size_t first, size_t length) {
  static const auto ids = read_ids(source_path("models/tiny/ids.json"));
  std::vector<uint32_t> prompt;
  for (size_t i = 0; i < length; ++i) prompt.push_back(ids[(first + i) % ids.size()]);
  return prompt;
}

inline GenerationRequest ask(std::vector<uint32_t> prompt, uint32_t max_tokens) {
  GenerationRequest request = greedy(std::move(prompt), max_tokens);
  request.ignore_end = true;
  return request;
}

inline void expect_empty(Scheduler& scheduler, const Engine& engine) {
  scheduler.drop_idle();
  EXPECT_EQ(engine.pool().figures(), (PoolFigures{.free = engine.pool().budget()}));
}

// The least memory that so many sequences of this size can be reserved in.
inline size_t memory_for(const std::string& plan, uint32_t prompt, uint32_t tokens,
                         size_t sequences) {
  const auto engine = tiny_engine({.plan = plan});
  size_t slabs = 0;
  for (const auto& [page_class, pages] : engine->layout().worst_case(prompt, tokens)) {
    const size_t per_slab = Pool::kSlabBytes / engine->pool().page_bytes(page_class);
    slabs += (sequences * pages + per_slab - 1) / per_slab;
  }
  return slabs * Pool::kSlabBytes;
}

}  // namespace skvis::testing
