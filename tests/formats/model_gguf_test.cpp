// SPDX-License-Identifier: Apache-2.0
// GGUF models, made from the golden Hugging Face models the way llama.cpp's converter does it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "base/file.hpp"
#include "files.hpp"
#include "formats/config_gguf.hpp"
#include "formats/gguf_writer.hpp"
#include "formats/model_files.hpp"

namespace skvis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> values_of(const TensorView& tensor) {
  std::vector<float> out(tensor.rows() * tensor.columns());
  dequantize_rows(tensor, 0, tensor.rows(), out.data());
  return out;
}

std::string gguf_name(std::string name) {
  const std::pair<std::string, std::string> parts[] = {{"model.embed_tokens", "token_embd"},
                                                       {"model.norm", "output_norm"},
                                                       {"lm_head", "output"},
                                                       {"model.layers", "blk"},
                                                       {"self_attn.q_proj", "attn_q"},
                                                       {"self_attn.k_proj", "attn_k"},
                                                       {"self_attn.v_proj", "attn_v"},
                                                       {"self_attn.o_proj", "attn_output"},
                                                       {"self_attn.q_norm", "attn_q_norm"},
                                                       {"self_attn.k_norm", "attn_k_norm"},
                                                       {"mlp.gate_proj", "ffn_gate"},
                                                       {"mlp.up_proj", "ffn_up"},
                                                       {"mlp.down_proj", "ffn_down"},
                                                       {"input_layernorm", "attn_norm"},
                                                       {"post_attention_layernorm", "ffn_norm"}};
  for (const auto& [from, to] : parts) {
    if (const size_t at = name.find(from); at != name.npos) name.replace(at, from.size(), to);
  }
  return name;
}

// reshape(heads, 2, head_dim / 2, columns).swapaxes(1, 2), the converter's permutation.
std::vector<float> permuted(const std::vector<float>& rows, size_t count, size_t head_dim) {
  const size_t columns = rows.size() / count;
  const size_t half = head_dim / 2;
  std::vector<float> out;
  for (size_t head = 0; head < count / head_dim; ++head) {
    for (size_t j = 0; j < half; ++j) {
      for (size_t p = 0; p < 2; ++p) {
        const size_t row = head * head_dim + p * half + j;
        out.insert(out.end(), rows.begin() + row * columns, rows.begin() + (row + 1) * columns);
      }
    }
  }
  return out;
}

GgufWriter metadata_of(const ModelConfig& config) {
  const std::string arch(architecture_name(config.architecture));
  GgufWriter writer;
  writer.text("general.architecture", arch)
      .u32(arch + ".embedding_length", config.hidden_size)
      .u32(arch + ".feed_forward_length", config.intermediate_size)
      .u32(arch + ".block_count", config.layers)
      .u32(arch + ".attention.head_count", config.heads)
      .u32(arch + ".attention.head_count_kv", config.kv_heads)
      .u32(arch + ".attention.key_length", config.head_dim)
      .u32(arch + ".context_length", config.context_length)
      .f32(arch + ".attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_norm_eps))
      .f32(arch + ".rope.freq_base", static_cast<float>(config.rope_theta))
      .texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>"})
      .u32("tokenizer.ggml.bos_token_id", 1)
      .u32("tokenizer.ggml.eos_token_id", 2);
  return writer;
}

uint32_t ggml_number(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 8;
    case DType::kBF16:
      return 30;
  }
  return 99;
}

// Adds the tensors that `take` accepts, matrices in `dtype`, vectors in F32.
void add_tensors(GgufWriter& writer, const ModelFiles& source, DType dtype,
                 const std::function<bool(size_t)>& take) {
  const ModelConfig& config = source.config();
  const std::vector<std::string> names = source.names();
  for (size_t i = 0; i < names.size(); ++i) {
    if (!take(i)) continue;
    const TensorView tensor = *source.tensor(names[i]);
    std::vector<float> values = values_of(tensor);
    const std::string name = gguf_name(names[i]);
    const bool rotated = name.find("attn_q.") != name.npos || name.find("attn_k.") != name.npos;
    if (config.architecture == Architecture::kLlama && rotated) {
      values = permuted(values, tensor.shape[0], config.head_dim);
    }
    const DType stored = tensor.shape.size() == 1 ? DType::kF32 : dtype;
    std::string bytes;
    if (stored == DType::kF32) {
      bytes = float_bytes(values);
    } else if (stored == DType::kBF16) {
      for (const float value : values) put(bytes, to_bfloat16(value).bits);
    } else if (stored == DType::kF16) {
      for (const float value : values) put(bytes, to_half(value).bits);
    } else {
      bytes = quantize(stored, values);
    }
    writer.tensor(name, ggml_number(stored), {tensor.shape.begin(), tensor.shape.end()}, bytes);
  }
}

std::string converted(const std::string& model, DType dtype) {
  const auto source = ModelFiles::open(golden(model));
  EXPECT_TRUE(source.ok());
  GgufWriter writer = metadata_of(source->config());
  add_tensors(writer, *source, dtype, [](size_t) { return true; });
  return writer.bytes();
}

// Largest |a - b| over largest |a|.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0, reach = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    reach = std::max(reach, std::abs(static_cast<double>(a[i])));
  }
  return worst / reach;
}

TEST(ModelGguf, converted_models_have_the_tensors_and_shape_of_their_source) {
  for (const std::string model : {"llama-tied", "llama31-rope", "qwen2-bias", "qwen3-qknorm"}) {
    const TempFolder folder;
    const auto path = folder.write("m.gguf", converted(model, DType::kF32));
    const auto source = ModelFiles::open(golden(model));
    const auto files = ModelFiles::open(path);
    ASSERT_TRUE(files.ok()) << files.error().message;
    const ModelConfig &want = source->config(), &got = files->config();
    EXPECT_EQ(got.architecture, want.architecture);
    EXPECT_EQ(got.hidden_size, want.hidden_size);
    EXPECT_EQ(got.intermediate_size, want.intermediate_size);
    EXPECT_EQ(got.layers, want.layers);
    EXPECT_EQ(got.heads, want.heads);
    EXPECT_EQ(got.kv_heads, want.kv_heads);
    EXPECT_EQ(got.head_dim, want.head_dim);
    EXPECT_EQ(got.vocab_size, want.vocab_size);
    EXPECT_EQ(got.context_length, want.context_length);
    EXPECT_EQ(got.rope_theta, want.rope_theta);
    EXPECT_FLOAT_EQ(got.rms_norm_eps, want.rms_norm_eps);
    EXPECT_EQ(got.tie_word_embeddings, want.tie_word_embeddings);
    EXPECT_EQ(got.qkv_bias, want.qkv_bias);
    EXPECT_EQ(got.output_bias, want.output_bias);
    EXPECT_EQ(got.qk_norm, want.qk_norm);
    EXPECT_EQ(got.bos_id, 1);
    EXPECT_THAT(got.eos_ids, ElementsAre(2));
    EXPECT_EQ(files->bos_token(), "<s>");
    EXPECT_EQ(files->parameters(), source->parameters());
    ASSERT_EQ(files->names(), source->names());
    for (const std::string& name : files->names()) {
      EXPECT_EQ(files->tensor(name)->shape, source->tensor(name)->shape) << name;
      EXPECT_EQ(values_of(*files->tensor(name)), values_of(*source->tensor(name))) << name;
    }
  }
}

TEST(ModelGguf, every_number_format_comes_close_to_its_source) {
  const auto source = ModelFiles::open(golden("llama-tied"));
  const std::pair<DType, double> formats[] = {{DType::kF16, 1e-3},
                                              {DType::kBF16, 0.0},
                                              {DType::kQ8_0, 0.5 / 127 * 1.1},
                                              {DType::kQ4_0, 0.5 / 7 * 1.1},
                                              {DType::kQ4_1, 1.0 / 15 * 1.1}};
  for (const auto& [dtype, bound] : formats) {
    const TempFolder folder;
    const auto files = ModelFiles::open(folder.write("m.gguf", converted("llama-tied", dtype)));
    ASSERT_TRUE(files.ok()) << files.error().message;
    for (const std::string& name : files->names()) {
      const TensorView tensor = *files->tensor(name);
      if (tensor.shape.size() == 1) continue;
      EXPECT_EQ(tensor.dtype, dtype);
      EXPECT_LE(distance(values_of(*source->tensor(name)), values_of(tensor)), bound) << name;
    }
  }
}

TEST(ModelGguf, split_files_open_from_any_of_them_and_equal_the_whole) {
  const TempFolder folder;
  const auto source = ModelFiles::open(golden("llama-tied"));
  const size_t total = source->names().size();
  for (size_t part = 0; part < 3; ++part) {
    GgufWriter writer = part == 0 ? metadata_of(source->config()) : GgufWriter();
    writer.value<uint16_t>("split.no", GgufType::kUint16, part)
        .value<uint16_t>("split.count", GgufType::kUint16, 3)
        .value<int32_t>("split.tensors.count", GgufType::kInt32, total);
    add_tensors(writer, *source, DType::kF32, [&](size_t i) { return i % 3 == part; });
    folder.write(fmt::format("m-{:05}-of-00003.gguf", part + 1), writer.bytes());
  }
  for (const int part : {1, 2, 3}) {
    const auto files = ModelFiles::open(folder.path() / fmt::format("m-{:05}-of-00003.gguf", part));
    ASSERT_TRUE(files.ok()) << files.error().message;
    EXPECT_EQ(files->description(), "GGUF v3, 3 files");
    ASSERT_EQ(files->names(), source->names());
    for (const std::string& name : files->names()) {
      EXPECT_EQ(values_of(*files->tensor(name)), values_of(*source->tensor(name))) << name;
    }
  }
  const auto error = [&](const std::filesystem::path& path) {
    const auto files = ModelFiles::open(path);
    return files ? "no error" : files.error().message;
  };
  const auto first = folder.path() / "m-00001-of-00003.gguf";
  std::filesystem::copy_file(first, folder.path() / "odd.gguf");
  EXPECT_THAT(error(folder.path() / "odd.gguf"), HasSubstr("its name does not end like"));
  const auto third = folder.path() / "m-00003-of-00003.gguf";
  std::filesystem::copy_file(folder.path() / "m-00002-of-00003.gguf", third,
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error(first), HasSubstr("says it is split 2 of 3, its name says 3 of 3"));
  std::filesystem::remove(third);
  EXPECT_THAT(error(first), HasSubstr("m-00003-of-00003.gguf"));
}

// Metadata of a small llama and what `change` adds, without tensors.
Result<ModelConfig> config_with(const std::function<void(GgufWriter&)>& change) {
  ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.layers = config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.context_length = 1024;
  config.vocab_size = 3;
  GgufWriter writer = metadata_of(config);
  change(writer);
  const std::string bytes = writer.bytes();
  SKVIS_TRY(const GgufFile file, GgufFile::parse(as_bytes(bytes), "f"));
  return config_from_gguf(file, [&](std::string_view name) -> Result<std::optional<TensorView>> {
    const GgufTensor* tensor = file.find_tensor(name);
    if (tensor == nullptr) return std::optional<TensorView>();
    SKVIS_TRY(TensorView view, file.tensor(*tensor));
    return std::optional<TensorView>(std::move(view));
  });
}

TEST(ModelGguf, rope_keys_become_the_scaling_they_mean) {
  const auto linear = config_with([](GgufWriter& w) {
    w.text("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 2.0f);
  });
  EXPECT_EQ(linear->rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(linear->rope_scaling.factor, 2.0);
  const auto old = config_with([](GgufWriter& w) { w.f32("llama.rope.scale_linear", 4.0f); });
  EXPECT_EQ(old->rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(old->rope_scaling.factor, 4.0);
  const auto none = config_with([](GgufWriter& w) {
    w.text("llama.rope.scaling.type", "none").f32("llama.rope.scaling.factor", 2.0f);
  });
  EXPECT_EQ(none->rope_scaling.kind, RopeScaling::Kind::kNone);
  const auto yarn = config_with([](GgufWriter& w) {
    w.text("llama.rope.scaling.type", "yarn")
        .f32("llama.rope.scaling.factor", 4.0f)
        .u32("llama.rope.scaling.original_context_length", 512)
        .f32("llama.rope.scaling.yarn_beta_fast", 16.0f)
        .f32("llama.rope.scaling.attn_factor", 2.0f);
  });
  ASSERT_TRUE(yarn.ok()) << yarn.error().message;
  EXPECT_EQ(yarn->rope_scaling.kind, RopeScaling::Kind::kYarn);
  EXPECT_EQ(yarn->rope_scaling.original_context, 512u);
  EXPECT_EQ(yarn->rope_scaling.beta_fast, 16.0);
  EXPECT_EQ(yarn->rope_scaling.beta_slow, 1.0);
  EXPECT_EQ(yarn->context_length, 2048u);
  EXPECT_DOUBLE_EQ(rope_attention_factor(yarn->rope_scaling), 2 * (0.1 * std::log(4.0) + 1));
  const auto factors = config_with([](GgufWriter& w) {
    w.tensor("rope_freqs.weight", 0, {8}, float_bytes({1, 1, 1, 2, 4, 8, 8, 8}));
  });
  ASSERT_TRUE(factors.ok()) << factors.error().message;
  EXPECT_THAT(factors->rope_frequency_factors, ElementsAre(1, 1, 1, 2, 4, 8, 8, 8));
}

TEST(ModelGguf, windows_follow_the_pattern) {
  const auto flags = [](const std::function<void(GgufWriter&)>& change) {
    const auto config = config_with([&](GgufWriter& w) {
      w.u32("llama.attention.sliding_window", 64);
      change(w);
    });
    EXPECT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->sliding_window, 64u);
    return config->sliding_layers;
  };
  const std::string key = "llama.attention.sliding_window_pattern";
  EXPECT_THAT(flags([](GgufWriter&) {}), ElementsAre(true, true, true, true));
  EXPECT_THAT(flags([&](GgufWriter& w) { w.u32(key, 2); }), ElementsAre(true, false, true, false));
  EXPECT_THAT(flags([&](GgufWriter& w) {
                w.array<uint8_t>(key, GgufType::kBool, {1, 0, 0, 1});
              }),
              ElementsAre(true, false, false, true));
}

TEST(ModelGguf, metadata_that_cannot_be_served_is_refused_by_name) {
  const auto error = [](const std::function<void(GgufWriter&)>& change) {
    const auto config = config_with(change);
    return config ? "no error" : config.error().message;
  };
  EXPECT_THAT(error([](GgufWriter& w) { w.u32("llama.expert_count", 8); }),
              HasSubstr("mixture of 8 experts"));
  EXPECT_THAT(error([](GgufWriter& w) { w.u32("llama.attention.value_length", 8); }),
              HasSubstr("keys have 16 dimensions, values 8"));
  EXPECT_THAT(error([](GgufWriter& w) { w.u32("llama.rope.dimension_count", 8); }),
              HasSubstr("the rotary embedding 8"));
  EXPECT_THAT(error([](GgufWriter& w) {
                w.text("llama.rope.scaling.type", "longrope").f32("llama.rope.scaling.factor", 2);
              }),
              HasSubstr("'llama.rope.scaling.type' is 'longrope', expected none, linear or yarn"));
  EXPECT_THAT(error([](GgufWriter& w) {
                w.tensor("rope_freqs.weight", 0, {4}, float_bytes({1, 1, 1, 1}));
              }),
              HasSubstr("rope_freqs.weight has shape [4], expected [8]"));
  EXPECT_THAT(error([](GgufWriter& w) {
                w.tensor("rope_freqs.weight", 0, {8}, float_bytes({1, 1, 1, 0, 1, 1, 1, 1}));
              }),
              HasSubstr("rotary frequency factor must be between"));
  EXPECT_THAT(error([](GgufWriter& w) {
                w.tensor("token_embd.weight", 14, {3, 256}, std::string(3 * 210, '\1'));
              }),
              HasSubstr("tensor token_embd.weight is stored as Q6_K, expected F32"));
  const std::string gemma = GgufWriter().text("general.architecture", "gemma3").bytes();
  const TempFolder folder;
  EXPECT_THAT(ModelFiles::open(folder.write("g.gguf", gemma)).error().message,
              HasSubstr("architecture 'gemma3' is not supported, expected llama, qwen2 or qwen3"));
  EXPECT_THAT(ModelFiles::open(folder.write("x.gguf", "not a model")).error().message,
              HasSubstr("must begin with the letters GGUF"));
}

TEST(ModelGguf, templates_and_sampling_come_from_the_metadata) {
  const auto source = ModelFiles::open(golden("llama-tied"));
  GgufWriter writer = metadata_of(source->config());
  writer.text("tokenizer.chat_template", "plain")
      .text("tokenizer.chat_template.tool_use", "tools")
      .u32("tokenizer.ggml.eot_token_id", 7)
      .f32("general.sampling.temp", 0.5f)
      .value<int32_t>("general.sampling.top_k", GgufType::kInt32, 40);
  add_tensors(writer, *source, DType::kF16, [](size_t) { return true; });
  const TempFolder folder;
  const auto files = ModelFiles::open(folder.write("m.gguf", writer.bytes()));
  ASSERT_TRUE(files.ok()) << files.error().message;
  EXPECT_EQ(files->chat_template(), "plain");
  EXPECT_EQ(files->chat_templates().at("tool_use"), "tools");
  EXPECT_THAT(files->config().eos_ids, ElementsAre(2, 7));
  EXPECT_EQ(files->generation_defaults().temperature, 0.5);
  EXPECT_EQ(files->generation_defaults().top_k, 40);
  ASSERT_NE(files->gguf(), nullptr);
  EXPECT_EQ(files->gguf()->strings("tokenizer.ggml.tokens")->size(), 3u);
}

TEST(ModelGguf, the_default_model_opens_and_its_weights_are_finite) {
  SKVIS_NEED_DEFAULT_MODEL();
  const auto files = ModelFiles::open(default_model_path());
  ASSERT_TRUE(files.ok()) << files.error().message;
  EXPECT_EQ(files->config().layers, 30u);
  EXPECT_EQ(files->config().heads, 9u);
  EXPECT_EQ(files->config().kv_heads, 3u);
  EXPECT_EQ(files->config().head_dim, 64u);
  EXPECT_EQ(files->config().vocab_size, 49152u);
  EXPECT_EQ(files->config().context_length, 8192u);
  EXPECT_EQ(files->config().rope_theta, 100000.0);
  EXPECT_TRUE(files->config().tie_word_embeddings);
  EXPECT_EQ(files->names().size(), 272u);
  EXPECT_EQ(files->tensor("model.embed_tokens.weight")->dtype, DType::kQ8_0);
  EXPECT_EQ(files->tensor("model.layers.0.self_attn.q_proj.weight")->interleaved_head_dim, 64u);
  EXPECT_THAT(files->chat_template().value_or(""), HasSubstr("<|im_start|>"));
  for (const std::string& name : files->names()) {
    const auto tensor = files->tensor(name);
    ASSERT_TRUE(tensor.ok()) << tensor.error().message;
    EXPECT_TRUE(check_finite(*tensor).ok()) << name;
  }
}

}  // namespace
}  // namespace skvis
