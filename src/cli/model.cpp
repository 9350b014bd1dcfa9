// SPDX-License-Identifier: Apache-2.0
// `skvis model info` and `skvis model random`.
#include <array>
#include <filesystem>

#include "base/aligned.hpp"
#include "base/bytes.hpp"
#include "base/file.hpp"
#include "base/half.hpp"
#include "base/json.hpp"
#include "cli/command.hpp"
#include "formats/safetensors.hpp"
#include "model/cache_shape.hpp"

namespace skvis {
namespace {

Result<void> show_info(const std::string& name) {
  SKVIS_TRY(const auto path, find_model(name));
  SKVIS_TRY(const ModelFiles files, ModelFiles::open(path));
  const ModelConfig& config = files.config();
  const size_t row = 2 * config.head_dim * sizeof(uint16_t);
  fmt::print("{}\n{}\n", path.string(), files.description());
  fmt::print("architecture     {}\n", architecture_name(config.architecture));
  fmt::print("parameters       {:.1f} M in {} of weights\n",
             static_cast<double>(files.parameters()) / 1e6,
             format_bytes(static_cast<double>(files.weight_bytes())));
  fmt::print("layers           {}, hidden {}, feed-forward {}\n", config.layers, config.hidden_size,
             config.intermediate_size);
  fmt::print("heads            {} query, {} KV of dimension {}\n", config.heads, config.kv_heads,
             config.head_dim);
  fmt::print("vocabulary       {}{}\n", config.vocab_size,
             config.tie_word_embeddings ? ", output tied to the embedding" : "");
  fmt::print("context          {} tokens, RoPE theta {:g}, scaling {}\n", config.context_length,
             config.rope_theta, rope_scaling_name(config.rope_scaling.kind));
  if (config.sliding_window) {
    const auto sliding =
        std::count(config.sliding_layers.begin(), config.sliding_layers.end(), true);
    fmt::print("sliding window   {} tokens in {} of {} layers\n", *config.sliding_window, sliding,
               config.layers);
  }
  fmt::print("full KV cache    {} bytes per token in F16\n", config.layers * config.kv_heads * row);
  const ModelText text = load_text(files);
  if (text.tokenizer) {
    fmt::print("tokenizer        {} ids\n", text.tokenizer->vocabulary_size());
  } else {
    fmt::print("tokenizer        none: {}\n", text.tokenizer_problem);
  }
  if (text.chat_template) {
    fmt::print("chat template    {}\n",
               text.chat_template->is_default() ? "none (ChatML is used)" : "the model's own");
  }
  return {};
}

// Shapes of models that people run, for benchmarks; weights are random.
struct NamedShape {
  std::string_view name;
  std::string_view model_type;
  size_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary, context;
  double theta;
  bool tied;
};
constexpr std::array kShapes = {
    NamedShape{"smollm2-135m", "llama", 576, 1536, 30, 9, 3, 64, 49152, 8192, 1e5, true},
    NamedShape{"qwen2-0.5b", "qwen2", 896, 4864, 24, 14, 2, 64, 151936, 32768, 1e6, true},
    NamedShape{"qwen3-0.6b", "qwen3", 1024, 3072, 28, 16, 8, 128, 151936, 40960, 1e6, true},
    NamedShape{"llama-1b", "llama", 2048, 8192, 16, 32, 8, 64, 128256, 131072, 5e5, true},
    NamedShape{"qwen3-1.7b", "qwen3", 2048, 6144, 28, 16, 8, 128, 151936, 40960, 1e6, true},
    NamedShape{"llama-3b", "llama", 3072, 8192, 28, 24, 8, 128, 128256, 131072, 5e5, true},
};

Json config_of(const NamedShape& shape) {
  return {{"model_type", shape.model_type},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.intermediate},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_dim},
          {"vocab_size", shape.vocabulary},
          {"max_position_embeddings", shape.context},
          {"rope_theta", shape.theta},
          {"rms_norm_eps", 1e-5},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", shape.tied},
          {"torch_dtype", "bfloat16"}};
}

// Normal enough for benchmarks: uniform with the usual deviation of 0.02. All tensors are parts of
// one buffer, so that a model takes the memory of its largest tensor.
AlignedBuffer<BFloat16> random_values(size_t count) {
  AlignedBuffer<BFloat16> values(count);
  uint64_t state = 42;
  for (size_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const float unit = static_cast<float>(state >> 40) * 0x1p-23f - 1.0f;
    values[i] = to_bfloat16(unit * 0.0346f);
  }
  return values;
}

class RandomModel {
 public:
  explicit RandomModel(const NamedShape& shape)
      : shape_(shape),
        values_(random_values(std::max(shape.vocabulary, shape.intermediate) * shape.hidden)),
        ones_(std::max(shape.hidden, shape.head_dim)) {
    for (BFloat16& one : ones_.span()) one = to_bfloat16(1.0f);
  }

  const std::vector<TensorView>& tensors() {
    const size_t hidden = shape_.hidden;
    const size_t q = shape_.heads * shape_.head_dim;
    const size_t kv = shape_.kv_heads * shape_.head_dim;
    add("model.embed_tokens.weight", {shape_.vocabulary, hidden});
    for (size_t layer = 0; layer < shape_.layers; ++layer) {
      prefix_ = fmt::format("model.layers.{}.", layer);
      add("input_layernorm.weight", {hidden});
      add("self_attn.q_proj.weight", {q, hidden});
      add("self_attn.k_proj.weight", {kv, hidden});
      add("self_attn.v_proj.weight", {kv, hidden});
      add("self_attn.o_proj.weight", {hidden, q});
      if (shape_.model_type == "qwen2") {
        add("self_attn.q_proj.bias", {q});
        add("self_attn.k_proj.bias", {kv});
        add("self_attn.v_proj.bias", {kv});
      }
      if (shape_.model_type == "qwen3") {
        add("self_attn.q_norm.weight", {shape_.head_dim});
        add("self_attn.k_norm.weight", {shape_.head_dim});
      }
      add("post_attention_layernorm.weight", {hidden});
      add("mlp.gate_proj.weight", {shape_.intermediate, hidden});
      add("mlp.up_proj.weight", {shape_.intermediate, hidden});
      add("mlp.down_proj.weight", {hidden, shape_.intermediate});
    }
    prefix_.clear();
    add("model.norm.weight", {hidden});
    if (!shape_.tied) add("lm_head.weight", {shape_.vocabulary, hidden});
    return tensors_;
  }

 private:
  void add(std::string_view name, std::vector<size_t> dimensions) {
    const bool norm = name.find("norm") != std::string_view::npos;
    size_t count = 1;
    for (const size_t dimension : dimensions) count *= dimension;
    const AlignedBuffer<BFloat16>& source = norm ? ones_ : values_;
    // Every tensor begins elsewhere in the buffer, so that no two are equal.
    const size_t first = norm ? 0 : (tensors_.size() * 7919) % (values_.size() - count + 1);
    tensors_.push_back({.name = prefix_ + std::string(name),
                        .dtype = DType::kBF16,
                        .shape = std::move(dimensions),
                        .data = std::as_bytes(source.span().subspan(first, count))});
  }

  const NamedShape& shape_;
  AlignedBuffer<BFloat16> values_;
  AlignedBuffer<BFloat16> ones_;
  std::string prefix_;
  std::vector<TensorView> tensors_;
};

Result<void> write_random(const std::string& name, const std::string& folder) {
  const auto shape = std::find_if(kShapes.begin(), kShapes.end(),
                                  [&](const NamedShape& known) { return known.name == name; });
  if (shape == kShapes.end()) return fail("shape '{}' is unknown", name);
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) return fail("{}: {}", folder, problem.message());
  const std::filesystem::path out(folder);
  RandomModel model(*shape);
  SKVIS_CHECK(write_safetensors(out / "model.safetensors", model.tensors()));
  SKVIS_CHECK(write_file(out / "config.json", dump_json(config_of(*shape), 2)));
  fmt::print("{}: random weights of the shape {}, for benchmarks\n", folder, name);
  return {};
}

}  // namespace

void add_model(CLI::App& app, Action& action) {
  struct Options {
    std::string model = "smollm2";
    std::string shape;
    std::string out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("model", "Look at a model, or make one for benchmarks");
  command->require_subcommand(1);
  CLI::App* info = command->add_subcommand("info", "What a model is: shape, formats, tokenizer");
  info->add_option("model", options->model, "Folder, GGUF file, or 'smollm2'")
      ->capture_default_str();
  info->footer("Example:\n  skvis model info models/tiny");
  info->callback([options, &action] { action = [options] { return show_info(options->model); }; });

  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.emplace_back(shape.name);
  CLI::App* random =
      command->add_subcommand("random", "Write a model with random weights of a real shape");
  random->add_option("--shape", options->shape, fmt::format("One of {}", fmt::join(names, ", ")))
      ->required()
      ->check(CLI::IsMember(names));
  random->add_option("--out", options->out, "Folder to write")->required();
  random->footer("Example:\n  skvis model random --shape llama-1b --out /tmp/llama-1b");
  random->callback([options, &action] {
    action = [options] { return write_random(options->shape, options->out); };
  });
}

}  // namespace skvis
