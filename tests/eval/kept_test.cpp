// SPDX-License-Identifier: Apache-2.0
// What plans keep of 1,200 tokens on the default model, against what kvpress 0.5.5 keeps
// (tests/data/oracles/README.md).
#include "eval/kept.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cctype>
#include <iterator>

#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string entry;  // of the oracle; the number is the share that is removed
  std::string plan;
  bool on_fast_path = false;  // too
};

const std::vector<Case> kCases = {
    {"streaming:0.5", "streaming:0.5 sinks=4"},
    {"knorm:0.5", "knorm:0.5 sinks=0", true},
    {"keydiff:0.5", "keydiff:0.5 sinks=0", true},
    {"tova:0.5", "tova:0.5 sinks=0"},
    {"snapkv:0.5", "snapkv:0.5 sinks=0 observe=64", true},
    {"snapkv:0.75", "snapkv:0.25 sinks=0 observe=64"},
    {"snapkv-w16-k7:0.5", "snapkv:0.5 sinks=0 observe=16 kernel=7"},
    {"pyramidkv:0.5", "snapkv:0.5 sinks=0 observe=64 budget=pyramid"},
    {"adakv-snapkv:0.5", "snapkv:0.5 sinks=0 observe=64 budget=ada", true},
    {"lagkv:0.5", "lagkv:0.5 sinks=0"},
    {"expected:0.5", "expected-attention:0.5 sinks=4", true},
    {"h2o:0.5", "h2o:0.5 sinks=0 recent=0"},
    {"criticalkv-snapkv:0.5", "snapkv:0.5 sinks=0 observe=64 refine=critical"},
    {"chunkkv-snapkv:0.5", "chunk:0.5 sinks=0 observe=64 recent=0"},
};

class KeptOracle : public ::testing::TestWithParam<Case> {
 protected:
  static Agreement agreement_with_oracle(DenseMode mode) {
    const auto folder = source_path("tests/data/oracles");
    const auto engine = make_engine(default_model_path().string(),
                                    {.plan = GetParam().plan + " settle=prompt", .mode = mode});
    const CacheShape& shape = engine->plan().shape;
    const Json oracle = read_json(folder / "kvpress-kept.json");
    const auto expected = kept_from_json(oracle[GetParam().entry], GetParam().entry, shape);
    EXPECT_TRUE(expected.ok());
    const auto ids = read_ids(folder / "kvpress-ids.json");
    const auto count = static_cast<uint32_t>(ids.size());
    auto sequence = engine->open_sequence(count, count);
    EXPECT_TRUE(sequence.ok());
    EXPECT_TRUE(engine->read(*sequence, ids, kPromptChunk, 0, {}).ok());
    const KeptRows kept = kept_rows(*sequence);
    EXPECT_EQ(kept_to_json(kept, shape, count)["kept_total"],
              oracle[GetParam().entry]["kept_total"]);
    return agreement(kept, *expected);
  }
};

TEST_P(KeptOracle, precise_arithmetic_keeps_the_same_rows) {
  SKVIS_NEED_DEFAULT_MODEL();
  const Agreement same = agreement_with_oracle(DenseMode::precise);
  EXPECT_GE(same.mean, 0.999);
  EXPECT_GE(same.worst, 0.97) << "head " << same.worst_head;
}

class KeptOracleFast : public KeptOracle {};
TEST_P(KeptOracleFast, fast_arithmetic_keeps_nearly_the_same_rows) {
  SKVIS_NEED_DEFAULT_MODEL();
  EXPECT_GE(agreement_with_oracle(DenseMode::fast).mean, 0.95);
}

std::vector<Case> fast_cases() {
  std::vector<Case> cases;
  std::copy_if(kCases.begin(), kCases.end(), std::back_inserter(cases),
               [](const Case& c) { return c.on_fast_path; });
  return cases;
}

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.entry;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Kvpress, KeptOracle, ::testing::ValuesIn(kCases), name_of);
INSTANTIATE_TEST_SUITE_P(Kvpress, KeptOracleFast, ::testing::ValuesIn(fast_cases()), name_of);

CacheShape small_shape() {
  CacheShape shape;
  shape.layers = 2;
  shape.kv_heads = 2;
  return shape;
}

TEST(Kept, selectors_of_whole_layers_keep_the_same_rows_in_all_heads_of_a_layer) {
  for (const std::string plan : {"tova:0.5 settle=64", "chunk:0.4 chunk=5 observe=8 settle=64"}) {
    const auto engine = tiny_engine({.plan = plan});
    const CacheShape& shape = engine->plan().shape;
    const auto ids = read_ids(source_path("models/tiny/ids.json"));
    const auto count = static_cast<uint32_t>(ids.size());
    auto sequence = engine->open_sequence(count, count);
    ASSERT_TRUE(sequence.ok());
    ASSERT_TRUE(engine->read(*sequence, ids, kPromptChunk, 0, {}).ok());
    const KeptRows kept = kept_rows(*sequence);
    EXPECT_LT(kept[0].size(), count);
    for (uint32_t head = 0; head < shape.heads(); ++head) {
      EXPECT_EQ(kept[head], kept[shape.index({shape.head(head).layer, 0})]) << plan;
    }
    EXPECT_NE(kept.front(), kept.back()) << plan;  // but not in all layers
  }
}

TEST(Kept, text_and_back) {
  const KeptRows kept = {{0, 1, 2, 5, 7, 8}, {}, {9}, {3, 4}};
  const Json json = kept_to_json(kept, small_shape(), 10);
  EXPECT_EQ(dump_json(json["kept"]), R"([["0-2,5,7-8",""],["9","3-4"]])");
  EXPECT_EQ(json["kept_total"], 9);
  const auto back = kept_from_json(json, "test", small_shape());
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, kept);
}

TEST(Kept, what_is_no_list_of_ascending_ranges_is_refused) {
  for (const std::string text : {"10", "3-1", "2,2", "5,3", "1,", ",1", "1-", "a", "1 2", "-1",
                                 "99999999999999999999", "0-9999999999"}) {
    Json json = kept_to_json({{}, {}, {}, {}}, small_shape(), 10);
    json["kept"][0][1] = text;
    const auto rows = kept_from_json(json, "file", small_shape());
    ASSERT_FALSE(rows.ok()) << text;
    EXPECT_THAT(rows.error().message, HasSubstr("kept[0][1]")) << text;
  }
}

TEST(Kept, other_shapes_are_refused) {
  for (const std::string text :
       {"[]", "{}", R"({"tokens": 5, "kept": {}})", R"({"tokens": -5, "kept": []})",
        R"({"tokens": 5, "kept": [["", ""]]})", R"({"tokens": 5, "kept": [["", ""], [""]]})",
        R"({"tokens": 5000000000, "kept": [["", ""], ["", ""]]})"}) {
    EXPECT_FALSE(kept_from_json(*parse_json(text, "file"), "file", small_shape()).ok()) << text;
  }
}

TEST(Kept, agreement_is_the_jaccard_index_of_each_head) {
  const Agreement same = agreement({{0, 1, 2, 3}, {}, {5}}, {{0, 1, 2, 9}, {}, {5}});
  EXPECT_DOUBLE_EQ(same.worst, 3.0 / 5);
  EXPECT_EQ(same.worst_head, 0u);
  EXPECT_DOUBLE_EQ(same.mean, (3.0 / 5 + 1 + 1) / 3);
}

}  // namespace
}  // namespace skvis::testing
