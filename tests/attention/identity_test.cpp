// SPDX-License-Identifier: Apache-2.0
// A row's result and a sequence's state depend on its tokens alone: not on slices, threads or the
// other sequences of a step. Bit for bit.
#include <gtest/gtest.h>

#include "attention_testing.hpp"

namespace skvis {
namespace {

struct Case {
  std::string name;
  std::string plan;
  std::vector<uint32_t> window = {};
};

std::vector<Case> cases() {
  return {
      {"int8", plan_text("int8", "int8", R"("settle": 256)")},
      {"int4_hadamard_tail",
       plan_text("int4 hadamard", "int4", R"("settle": 128, "sinks": 4, "exact": 40)")},
      {"snapkv", plan_text("int8", "int4 hadamard",
                           R"("settle": 96, "sinks": 4, "recent": 24, "exact": 8,
                              "keep": {"selector": "snapkv", "ratio": 0.5, "observe": 16})")},
      {"per_head", plan_text("int4", "int8",
                             R"("settle": 128, "sinks": 3, "recent": 16, "keep":
                                {"selector": "snapkv", "observe": 16, "table": [
                                 {"layers": "0", "heads": "0", "ratio": 0.2},
                                 {"layers": "0", "heads": "1", "tokens": 60},
                                 {"layers": "1", "ratio": 0.8}]})")},
      {"prompt", plan_text("bf16", "f16",
                           R"("settle": "prompt", "sinks": 4, "recent": 32, "exact_type": "bf16",
                              "keep": {"selector": "snapkv", "tokens": 200, "observe": 32})")},
      {"sliding", plan_text("int8", "int8", R"("settle": 128, "sinks": 4)"), {0, 150}},
  };
}

struct State {
  std::vector<float> outputs;  // of every row and layer
  uint64_t hash = 0;
  bool operator==(const State&) const = default;
};

constexpr uint32_t kPrompt = 500;
constexpr uint32_t kAnswer = 40;

class Runner {
 public:
  Runner(const Case& test, size_t threads)
      : bench(make_shape(2, 2, 3, 32, test.window), test.plan, threads) {}

  // Runs one step over sequences of given seeds and appends each sequence's outputs to its own.
  void step(std::vector<SequenceCache*> sequences, std::vector<uint64_t> seeds,
            std::vector<uint32_t> rows, RowKind kind, std::vector<std::vector<float>*> outputs) {
    const CacheShape& shape = bench.shape();
    std::vector<SequenceSlice> slices;
    std::vector<uint32_t> begins;
    uint32_t total = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      slices.push_back(
          {.sequence = sequences[i], .first_row = total, .rows = rows[i], .kind = kind});
      begins.push_back(sequences[i]->length());
      total += rows[i];
    }
    auto step = AttentionStep::begin(slices, bench.threads);
    ASSERT_TRUE(step.ok());
    const size_t width = size_t{shape.query_heads} * shape.head_dim;
    std::vector<float> out(total * width);
    for (uint32_t layer = 0; layer < shape.layers; ++layer) {
      StepInput input;
      for (size_t i = 0; i < sequences.size(); ++i) {
        input.add(shape, seeds[i], layer, begins[i], rows[i]);
      }
      (*step)->attend(input.view(layer, bench.rotary), out.data());
      for (size_t i = 0; i < sequences.size(); ++i) {
        const float* from = out.data() + slices[i].first_row * width;
        // By layer, since slices of any size must line up.
        layers_[outputs[i]].resize(shape.layers);
        auto& layer_out = layers_[outputs[i]][layer];
        layer_out.insert(layer_out.end(), from, from + rows[i] * width);
      }
    }
    (*step)->commit_all();
  }

  void settle_if_due(SequenceCache& sequence, bool prompt_ends) {
    const SettleRule& rule = bench.layout.plan().settle;
    if (!rule.is_grid_point(sequence.committed()) && !(prompt_ends && rule.at_prompt_end)) return;
    const auto settled = settle(sequence, StoredAttention(), bench.threads);
    ASSERT_TRUE(settled.ok()) << settled.error().message;
  }

  void read(SequenceCache& sequence, uint64_t seed, uint32_t prompt, uint32_t slice,
            std::vector<float>& outputs) {
    while (sequence.length() < prompt) {
      const uint32_t rows = sequence.slice(std::min(slice, prompt - sequence.length()));
      step({&sequence}, {seed}, {rows}, RowKind::prompt, {&outputs});
      settle_if_due(sequence, sequence.length() == prompt);
    }
  }

  State finish(const SequenceCache& sequence, std::vector<float>& outputs) {
    State state;
    for (const auto& layer : layers_[&outputs]) {
      state.outputs.insert(state.outputs.end(), layer.begin(), layer.end());
    }
    state.hash = hash_sequence(sequence);
    return state;
  }

  Bench bench;

 private:
  std::map<std::vector<float>*, std::vector<std::vector<float>>> layers_;
};

State run(const Case& test, size_t threads, uint32_t slice, uint32_t answer_rows) {
  Runner runner(test, threads);
  SequenceCache sequence = runner.bench.open();
  std::vector<float> outputs;
  runner.read(sequence, 1, kPrompt, slice, outputs);
  while (sequence.length() < kPrompt + kAnswer) {
    const uint32_t rows =
        sequence.slice(std::min(answer_rows, kPrompt + kAnswer - sequence.length()));
    runner.step({&sequence}, {1}, {rows}, RowKind::generated, {&outputs});
    runner.settle_if_due(sequence, false);
  }
  return runner.finish(sequence, outputs);
}

class Identity : public ::testing::TestWithParam<size_t> {};

TEST_P(Identity, slices_and_threads_change_no_bit) {
  const Case test = cases()[GetParam()];
  const State expected = run(test, 1, 64, 1);
  for (const auto& [threads, slice, answer_rows] :
       {std::tuple<size_t, uint32_t, uint32_t>{1, 160, 5},
        {2, 1, 1},
        {3, 7, 3},
        {4, 160, 1},
        {2, 64, 8},
        {1, 499, 2}}) {
    const State state = run(test, threads, slice, answer_rows);
    EXPECT_EQ(state.hash, expected.hash) << threads << " threads, slices of " << slice;
    ASSERT_EQ(state.outputs.size(), expected.outputs.size());
    size_t different = 0;
    for (size_t i = 0; i < state.outputs.size(); ++i) {
      different +=
          std::bit_cast<uint32_t>(state.outputs[i]) != std::bit_cast<uint32_t>(expected.outputs[i]);
    }
    EXPECT_EQ(different, 0u) << threads << " threads, slices of " << slice;
  }
}

TEST_P(Identity, sequences_in_one_step_get_what_they_get_alone) {
  const Case test = cases()[GetParam()];
  const std::vector<uint32_t> prompts = {1, 130, 300, 77};
  std::vector<State> alone;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Runner runner(test, 1);
    SequenceCache sequence = runner.bench.open();
    std::vector<float> outputs;
    runner.read(sequence, i, prompts[i], 64, outputs);
    for (uint32_t k = 0; k < 30; ++k) {
      runner.step({&sequence}, {i}, {1}, RowKind::generated, {&outputs});
      runner.settle_if_due(sequence, false);
    }
    alone.push_back(runner.finish(sequence, outputs));
  }
  Runner runner(test, 3);
  std::vector<SequenceCache> sequences;
  std::vector<std::vector<float>> outputs(prompts.size());
  std::vector<SequenceCache*> pointers;
  std::vector<std::vector<float>*> output_pointers;
  std::vector<uint64_t> seeds;
  for (size_t i = 0; i < prompts.size(); ++i) sequences.push_back(runner.bench.open());
  for (size_t i = 0; i < prompts.size(); ++i) {
    runner.read(sequences[i], i, prompts[i], 33, outputs[i]);
    pointers.push_back(&sequences[i]);
    output_pointers.push_back(&outputs[i]);
    seeds.push_back(i);
  }
  for (uint32_t k = 0; k < 30; ++k) {
    runner.step(pointers, seeds, std::vector<uint32_t>(prompts.size(), 1), RowKind::generated,
                output_pointers);
    for (SequenceCache& sequence : sequences) runner.settle_if_due(sequence, false);
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_TRUE(runner.finish(sequences[i], outputs[i]) == alone[i]) << "sequence " << i;
  }
}

TEST_P(Identity, a_fork_goes_on_like_its_original_and_leaves_it_untouched) {
  const Case test = cases()[GetParam()];
  Runner runner(test, 2);
  SequenceCache sequence = runner.bench.open();
  std::vector<float> ignored;
  runner.read(sequence, 5, 300, 64, ignored);
  const uint64_t before = hash_sequence(sequence);
  std::vector<float> first;
  std::vector<float> second;
  auto fork = sequence.fork(kUnreserved);
  ASSERT_TRUE(fork.ok());
  EXPECT_EQ(hash_sequence(*fork), before);
  const auto go_on = [&](SequenceCache& cache, std::vector<float>& outputs) {
    for (uint32_t k = 0; k < 150; ++k) {
      runner.step({&cache}, {5}, {1}, RowKind::generated, {&outputs});
      runner.settle_if_due(cache, false);
    }
    return runner.finish(cache, outputs);
  };
  const State forked = go_on(*fork, first);
  EXPECT_EQ(hash_sequence(sequence), before);
  EXPECT_TRUE(go_on(sequence, second) == forked);
}

INSTANTIATE_TEST_SUITE_P(Plans, Identity, ::testing::Range<size_t>(0, cases().size()),
                         [](const auto& info) { return cases()[info.param].name; });

}  // namespace
}  // namespace skvis
