// SPDX-License-Identifier: Apache-2.0
#include "formats/config_json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.hpp"
#include "base/json.hpp"
#include "files.hpp"

namespace skvis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A small valid config of `type`, with `changes` merged over it (null removes a key).
std::string config_text(std::string_view type, std::string_view changes = "{}") {
  Json config = {
      {"model_type", type},     {"hidden_size", 128},       {"intermediate_size", 256},
      {"num_hidden_layers", 4}, {"num_attention_heads", 8}, {"num_key_value_heads", 2},
      {"head_dim", 16},         {"vocab_size", 1000},       {"max_position_embeddings", 4096}};
  const Json patch = Json::parse(changes);
  for (const auto& [key, value] : patch.items()) config[key] = value;
  return config.dump();
}

ModelConfig parsed(std::string_view type, std::string_view changes = "{}") {
  const auto config = parse_model_config(config_text(type, changes), "c");
  EXPECT_TRUE(config.ok()) << (config.ok() ? "" : config.error().message);
  return config.ok() ? *config : ModelConfig{};
}

std::string error_of(std::string_view type, std::string_view changes) {
  const auto config = parse_model_config(config_text(type, changes), "c");
  return config ? "no error" : config.error().message;
}

TEST(ConfigJson, golden_models_give_their_shapes) {
  struct Case {
    std::string folder;
    Architecture architecture;
    bool tied, qkv_bias, qk_norm;
    double theta;
  };
  for (const Case& want : {Case{"llama-tied", Architecture::kLlama, true, false, false, 1e4},
                           Case{"llama31-rope", Architecture::kLlama, false, false, false, 5e5},
                           Case{"qwen2-bias", Architecture::kQwen2, false, true, false, 1e6},
                           Case{"qwen3-qknorm", Architecture::kQwen3, true, false, true, 1e6}}) {
    const auto text = read_file(golden(want.folder) / "config.json");
    ASSERT_TRUE(text.ok());
    const auto config = parse_model_config(*text, "c");
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->architecture, want.architecture);
    EXPECT_EQ(config->tie_word_embeddings, want.tied);
    EXPECT_EQ(config->qkv_bias, want.qkv_bias);
    EXPECT_EQ(config->qk_norm, want.qk_norm);
    EXPECT_EQ(config->rope_theta, want.theta);
    EXPECT_EQ(config->hidden_size, 128u);
    EXPECT_EQ(config->intermediate_size, 320u);
    EXPECT_EQ(config->layers, 3u);
    EXPECT_EQ(config->heads, 4u);
    EXPECT_EQ(config->group_size(), 2u);
    EXPECT_EQ(config->head_dim, 64u);
    EXPECT_EQ(config->vocab_size, 512u);
    EXPECT_EQ(config->rms_norm_eps, 1e-5);
    EXPECT_EQ(config->bos_id, 1);
    EXPECT_THAT(config->eos_ids, ElementsAre(2));
    EXPECT_FALSE(config->slides(0));
  }
}

TEST(ConfigJson, missing_keys_mean_what_they_mean_in_transformers) {
  const std::string drop = R"({"num_key_value_heads":null,"head_dim":null,
                               "max_position_embeddings":null})";
  const ModelConfig llama = parsed("llama", drop);
  EXPECT_EQ(llama.kv_heads, 8u);
  EXPECT_EQ(llama.head_dim, 16u);
  EXPECT_EQ(llama.context_length, 2048u);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6);
  EXPECT_EQ(llama.rope_theta, 10000.0);
  EXPECT_EQ(llama.bos_id, 1);
  EXPECT_THAT(llama.eos_ids, ElementsAre(2));
  EXPECT_FALSE(llama.tie_word_embeddings);
  const ModelConfig mistral = parsed("mistral", drop);
  EXPECT_EQ(mistral.context_length, 131072u);
  EXPECT_EQ(mistral.sliding_window, 4096u);
  const ModelConfig qwen3 = parsed("qwen3", R"({"head_dim":null})");
  EXPECT_EQ(qwen3.head_dim, 128u);
  EXPECT_EQ(qwen3.bos_id, std::nullopt);
  EXPECT_TRUE(qwen3.eos_ids.empty());
}

TEST(ConfigJson, architecture_is_taken_from_the_class_where_the_type_is_missing) {
  const auto config = parse_model_config(
      config_text("", R"({"model_type":null,"architectures":["Qwen2ForCausalLM"]})"), "c");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->architecture, Architecture::kQwen2);
}

TEST(ConfigJson, unsupported_architectures_are_named_beside_the_supported) {
  EXPECT_EQ(error_of("gemma2", "{}"),
            "c: architecture 'gemma2' is not supported, expected llama, mistral, qwen2 or qwen3");
  EXPECT_THAT(error_of("llama", R"({"model_type":null})"), HasSubstr("'model_type' is missing"));
}

TEST(ConfigJson, biases_follow_the_architecture) {
  const std::string both = R"({"attention_bias":true,"mlp_bias":true})";
  const ModelConfig llama = parsed("llama", both);
  EXPECT_TRUE(llama.qkv_bias && llama.output_bias && llama.mlp_bias);
  const ModelConfig qwen2 = parsed("qwen2", both);
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias || qwen2.mlp_bias);
  const ModelConfig qwen3 = parsed("qwen3", both);
  EXPECT_TRUE(qwen3.qkv_bias && qwen3.output_bias);
  EXPECT_FALSE(qwen3.mlp_bias);
  EXPECT_FALSE(parsed("mistral", both).qkv_bias);
}

TEST(ConfigJson, windows_follow_the_architecture) {
  const auto window = [](std::string_view type, std::string_view changes) {
    const ModelConfig config = parsed(type, changes);
    std::vector<size_t> windows;
    for (size_t i = 0; i < config.layers; ++i) {
      windows.push_back(config.slides(i) ? *config.sliding_window : 0);
    }
    return windows;
  };
  EXPECT_THAT(window("mistral", R"({"sliding_window":64})"), ElementsAre(64, 64, 64, 64));
  EXPECT_THAT(window("mistral", R"({"sliding_window":null})"), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(window("llama", R"({"sliding_window":64})"), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(window("qwen2", R"({"sliding_window":64})"), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(
      window("qwen2", R"({"sliding_window":64,"use_sliding_window":true,"max_window_layers":3})"),
      ElementsAre(0, 0, 0, 64));
  EXPECT_THAT(window("qwen2", R"({"sliding_window":64,"use_sliding_window":true})"),
              ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(window("qwen3", R"({"sliding_window":64,"use_sliding_window":true,"layer_types":
      ["sliding_attention","full_attention","sliding_attention","full_attention"]})"),
              ElementsAre(64, 0, 64, 0));
  EXPECT_THAT(error_of("qwen2", R"({"layer_types":["full_attention"]})"), HasSubstr("array of 4"));
  EXPECT_THAT(error_of("qwen2", R"({"layer_types":["a","b","c","d"]})"),
              HasSubstr("layer_types[0] must be"));
  EXPECT_THAT(error_of("qwen2", R"({"layer_types":["sliding_attention","full_attention",
      "full_attention","full_attention"]})"),
              HasSubstr("no 'sliding_window' is in use"));
}

TEST(ConfigJson, rope_scaling_is_read_in_its_old_and_new_form) {
  const std::string llama3 = R"("factor":8,"low_freq_factor":1,"high_freq_factor":4,)"
                             R"("original_max_position_embeddings":64)";
  for (const std::string& form :
       {R"({"rope_theta":5e5,"rope_scaling":{"type":"llama3",)" + llama3 + "}}",
        R"({"rope_theta":5e5,"rope_scaling":{"rope_type":"llama3",)" + llama3 + "}}",
        R"({"rope_parameters":{"rope_theta":5e5,"rope_type":"llama3",)" + llama3 + "}}"}) {
    const ModelConfig config = parsed("llama", form);
    EXPECT_EQ(config.rope_theta, 5e5) << form;
    EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::kLlama3);
    EXPECT_EQ(config.rope_scaling.factor, 8.0);
    EXPECT_EQ(config.rope_scaling.low_freq_factor, 1.0);
    EXPECT_EQ(config.rope_scaling.high_freq_factor, 4.0);
    EXPECT_EQ(config.rope_scaling.original_context, 64u);
  }
  const ModelConfig linear = parsed("llama", R"({"rope_scaling":{"type":"linear","factor":2.5}})");
  EXPECT_EQ(linear.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(linear.rope_scaling.factor, 2.5);
  EXPECT_EQ(rope_attention_factor(linear.rope_scaling), 1.0);
  const ModelConfig plain = parsed("llama", R"({"rope_parameters":{"rope_type":"default",
                                                 "rope_theta":777.0}})");
  EXPECT_EQ(plain.rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(plain.rope_theta, 777.0);
}

TEST(ConfigJson, yarn_carries_all_its_parameters) {
  const ModelConfig plain = parsed("qwen2", R"({"rope_scaling":{"type":"yarn","factor":4.0,
      "original_max_position_embeddings":4096}})");
  EXPECT_EQ(plain.rope_scaling.kind, RopeScaling::Kind::kYarn);
  EXPECT_EQ(plain.context_length, 16384u);
  EXPECT_EQ(plain.rope_scaling.beta_fast, 32.0);
  EXPECT_EQ(plain.rope_scaling.beta_slow, 1.0);
  EXPECT_TRUE(plain.rope_scaling.truncate);
  EXPECT_DOUBLE_EQ(rope_attention_factor(plain.rope_scaling), 0.1 * std::log(4.0) + 1.0);
  const ModelConfig full = parsed("qwen2", R"({"rope_scaling":{"rope_type":"yarn","factor":4.0,
      "original_max_position_embeddings":4096,"beta_fast":16,"beta_slow":2,"mscale":0.7,
      "mscale_all_dim":1.1,"truncate":false}})");
  EXPECT_EQ(full.rope_scaling.beta_fast, 16.0);
  EXPECT_EQ(full.rope_scaling.beta_slow, 2.0);
  EXPECT_FALSE(full.rope_scaling.truncate);
  EXPECT_DOUBLE_EQ(rope_attention_factor(full.rope_scaling),
                   (0.07 * std::log(4.0) + 1) / (0.11 * std::log(4.0) + 1));
  const ModelConfig given = parsed("qwen2", R"({"rope_scaling":{"rope_type":"yarn",
      "original_max_position_embeddings":1024,"attention_factor":1.25}})");
  EXPECT_EQ(given.rope_scaling.factor, 4.0);
  EXPECT_EQ(rope_attention_factor(given.rope_scaling), 1.25);
}

TEST(ConfigJson, nonsense_is_refused_with_the_key_that_is_wrong) {
  const std::pair<std::string, std::string> cases[] = {
      {R"({"hidden_size":0})", "'hidden_size' must be between 1 and"},
      {R"({"hidden_size":null})", "'hidden_size' is missing"},
      {R"({"hidden_size":"128"})", "'hidden_size' must be a whole number, found a string"},
      {R"({"hidden_size":1.5})", "'hidden_size' must be a whole number"},
      {R"({"hidden_size":2000000})", "hidden size must be between 1 and 1048576, found 2000000"},
      {R"({"num_hidden_layers":2000000000})", "'num_hidden_layers' must be between 1 and 1024"},
      {R"({"num_attention_heads":1000000})", "number of attention heads"},
      {R"({"num_key_value_heads":3})", "8 attention heads cannot share 3 KV heads evenly"},
      {R"({"num_key_value_heads":16})", "8 attention heads cannot share 16 KV heads evenly"},
      {R"({"head_dim":20})", "head_dim must be a multiple of 8, found 20"},
      {R"({"head_dim":520})", "head_dim must be between 1 and 512, found 520"},
      {R"({"vocab_size":-1})", "'vocab_size' must be between 1"},
      {R"({"rms_norm_eps":-1})", "'rms_norm_eps' must be between 0 and 1"},
      {R"({"rope_theta":0})", "'rope_theta' must be between 1"},
      {R"({"hidden_act":"gelu"})", "'hidden_act' must be \"silu\", found \"gelu\""},
      {R"({"partial_rotary_factor":0.5})", "partial_rotary_factor must be 1, found 0.5"},
      {R"({"quantization_config":{}})", "'quantization_config'"},
      {R"({"tie_word_embeddings":1})", "'tie_word_embeddings' must be true or false"},
      {R"({"rope_scaling":3})", "rope_scaling must be an object, found a number"},
      {R"({"rope_scaling":{"type":"dynamic","factor":2}})", "rope type 'dynamic' is not supported"},
      {R"({"rope_scaling":{"type":"linear"}})", "'factor' is missing"},
      {R"({"rope_scaling":{"type":"linear","factor":0}})", "'factor' must be between"},
      {R"({"rope_scaling":{"type":"llama3","factor":8}})", "'low_freq_factor' is missing"},
      {R"({"rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}})",
       "high_freq_factor 4 must be above low_freq_factor 4"},
      {R"({"rope_scaling":{"type":"yarn","factor":2,"beta_fast":1,"beta_slow":2}})",
       "beta_fast 1 must not be below beta_slow 2"},
      {R"({"rope_parameters":{"full_attention":{"rope_type":"default"}}})", "'full_attention'"},
      {R"({"eos_token_id":"2"})", "'eos_token_id' must be a whole number"},
      {R"({"eos_token_id":[1,"2"]})", "'eos_token_id' must list token ids, found \"2\""},
  };
  for (const auto& [changes, expected] : cases) {
    const std::string message = error_of("llama", changes);
    EXPECT_THAT(message, HasSubstr(expected)) << changes;
    EXPECT_EQ(message.substr(0, 2), "c:") << changes;
  }
  EXPECT_THAT(parse_model_config("[1]", "c").error().message, HasSubstr("expected an object"));
  EXPECT_THAT(parse_model_config("{", "c").error().message, HasSubstr("not valid JSON"));
}

TEST(ConfigJson, special_ids_outside_the_vocabulary_are_dropped) {
  const ModelConfig config =
      parsed("llama", R"({"bos_token_id":128000,"eos_token_id":[2,128001,999]})");
  EXPECT_EQ(config.bos_id, std::nullopt);
  EXPECT_THAT(config.eos_ids, ElementsAre(2, 999));
  EXPECT_EQ(parsed("llama", R"({"bos_token_id":null})").bos_id, std::nullopt);
  EXPECT_TRUE(parsed("llama", R"({"eos_token_id":null})").eos_ids.empty());
}

TEST(ConfigJson, generation_defaults_are_read_and_absent_ones_stay_absent) {
  const auto defaults = parse_generation_config(
      R"({"do_sample":true,"temperature":0.7,"top_p":0.8,"top_k":20,"min_p":0.05,
          "repetition_penalty":1.1,"max_new_tokens":100,"eos_token_id":[3,4],"bos_token_id":5,
          "transformers_version":"4.40"})",
      "g");
  ASSERT_TRUE(defaults.ok()) << defaults.error().message;
  EXPECT_EQ(defaults->do_sample, true);
  EXPECT_EQ(defaults->temperature, 0.7);
  EXPECT_EQ(defaults->top_p, 0.8);
  EXPECT_EQ(defaults->top_k, 20);
  EXPECT_EQ(defaults->min_p, 0.05);
  EXPECT_EQ(defaults->repetition_penalty, 1.1);
  EXPECT_EQ(defaults->max_new_tokens, 100);
  EXPECT_EQ(defaults->bos_id, 5);
  EXPECT_THAT(defaults->eos_ids, ElementsAre(3, 4));
  const auto empty = parse_generation_config("{}", "g");
  ASSERT_TRUE(empty.ok());
  EXPECT_FALSE(empty->do_sample || empty->temperature || empty->top_p || empty->top_k ||
               empty->min_p || empty->max_new_tokens || empty->bos_id);
  EXPECT_TRUE(empty->eos_ids.empty());
}

TEST(ConfigJson, wrong_generation_defaults_are_refused) {
  for (const std::string text :
       {"[]", R"({"temperature":-1})", R"({"top_p":1.5})", R"({"top_k":"x"})", R"({"do_sample":3})",
        R"({"eos_token_id":[-4]})", R"({"eos_token_id":{}})"}) {
    EXPECT_FALSE(parse_generation_config(text, "g").ok()) << text;
  }
}

}  // namespace
}  // namespace skvis
