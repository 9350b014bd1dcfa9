// SPDX-License-Identifier: Apache-2.0
// Hugging Face folders; GGUF files have their own tests.
#include "formats/model_files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.hpp"
#include "files.hpp"
#include "formats/gguf_writer.hpp"
#include "formats/safetensors.hpp"

namespace skvis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::filesystem::path& path) {
  const auto files = ModelFiles::open(path);
  return files ? "no error" : files.error().message;
}

std::string text_of(const std::filesystem::path& path) {
  const auto text = read_file(path);
  EXPECT_TRUE(text.ok()) << path;
  return text.ok() ? *text : "";
}

// llama-tied as `shards` files and an index.
void write_sharded(const TempFolder& folder, size_t shards) {
  const auto source = ModelFiles::open(golden("llama-tied"));
  ASSERT_TRUE(source.ok());
  std::vector<std::vector<TensorView>> parts(shards);
  std::string map;
  size_t next = 0;
  for (const std::string& name : source->names()) {
    const size_t shard = next++ % shards;
    parts[shard].push_back(*source->tensor(name));
    map += fmt::format("{}\"{}\":\"m-{}.safetensors\"", map.empty() ? "" : ",", name, shard);
  }
  for (size_t i = 0; i < shards; ++i) {
    const auto path = folder.path() / fmt::format("m-{}.safetensors", i);
    ASSERT_TRUE(write_safetensors(path, parts[i]).ok());
  }
  folder.write("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  folder.write("config.json", text_of(golden("llama-tied") / "config.json"));
}

TEST(ModelFiles, the_tiny_model_opens_with_all_it_has) {
  const auto files = ModelFiles::open(source_path("models/tiny"));
  ASSERT_TRUE(files.ok()) << files.error().message;
  EXPECT_EQ(files->config().layers, 6u);
  EXPECT_EQ(files->config().bos_id, std::nullopt);
  EXPECT_EQ(files->parameters(), 6360320u);
  EXPECT_EQ(files->weight_bytes(), 2 * files->parameters());
  EXPECT_EQ(files->generation_defaults().temperature, 0.8);
  EXPECT_THAT(files->generation_defaults().eos_ids, ElementsAre(4093, 4095));
  EXPECT_THAT(files->chat_template().value_or(""), HasSubstr("<|im_start|>assistant"));
  EXPECT_EQ(files->eos_token(), "<|im_end|>");
  EXPECT_EQ(files->bos_token(), "");
  EXPECT_EQ(files->tokenizer_json(), source_path("models/tiny/tokenizer.json"));
  EXPECT_EQ(files->gguf(), nullptr);
  EXPECT_EQ(files->description(), "Hugging Face folder, 1 file");
  EXPECT_FALSE(files->has("lm_head.weight"));
}

TEST(ModelFiles, tensors_are_found_by_name_and_checked_by_shape) {
  const auto files = ModelFiles::open(golden("qwen2-bias"));
  ASSERT_TRUE(files.ok()) << files.error().message;
  const size_t shape[] = {256, 128};
  const auto q = files->tensor("model.layers.0.self_attn.q_proj.weight", shape);
  ASSERT_TRUE(q.ok()) << q.error().message;
  EXPECT_EQ(q->interleaved_head_dim, 0u);
  EXPECT_TRUE(check_finite(*q).ok());
  EXPECT_TRUE(files->has("model.layers.0.self_attn.q_proj.bias"));
  EXPECT_THAT(files->tensor("model.layers.9.self_attn.q_proj.weight").error().message,
              HasSubstr("tensor model.layers.9.self_attn.q_proj.weight is missing"));
  EXPECT_THAT(
      files->tensor("model.norm.weight", shape).error().message,
      HasSubstr(
          "model.safetensors: tensor model.norm.weight has shape [128], expected [256, 128]"));
}

TEST(ModelFiles, dropped_pages_are_read_again) {
  const auto files = ModelFiles::open(golden("llama-tied"));
  ASSERT_TRUE(files.ok());
  const auto embedding = files->tensor("model.embed_tokens.weight");
  ASSERT_TRUE(embedding.ok());
  std::vector<float> before(128), after(128);
  dequantize_rows(*embedding, 100, 1, before.data());
  files->drop_resident(*embedding);
  dequantize_rows(*embedding, 100, 1, after.data());
  EXPECT_EQ(before, after);
}

TEST(ModelFiles, shards_give_the_same_tensors_as_one_file) {
  const TempFolder folder;
  write_sharded(folder, 3);
  const auto whole = ModelFiles::open(golden("llama-tied"));
  auto opened = ModelFiles::open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const ModelFiles sharded = std::move(*opened);
  EXPECT_EQ(sharded.description(), "Hugging Face folder, 3 files");
  ASSERT_EQ(sharded.names(), whole->names());
  for (const std::string& name : sharded.names()) {
    const auto a = whole->tensor(name);
    const auto b = sharded.tensor(name);
    ASSERT_TRUE(a.ok() && b.ok());
    ASSERT_EQ(a->data.size(), b->data.size());
    EXPECT_EQ(std::memcmp(a->data.data(), b->data.data(), a->data.size()), 0) << name;
  }
}

TEST(ModelFiles, an_index_that_lies_is_refused) {
  const TempFolder folder;
  write_sharded(folder, 2);
  const std::string index = text_of(folder.path() / "model.safetensors.index.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = index;
    changed.replace(changed.find(from), from.size(), to);
    folder.write("model.safetensors.index.json", changed);
    return error_of(folder.path());
  };
  EXPECT_THAT(with("m-0.safetensors", "m-1.safetensors"), HasSubstr("which does not hold it"));
  EXPECT_THAT(with("m-0.safetensors", "m-7.safetensors"),
              HasSubstr("names m-7.safetensors, which is not in the folder"));
  EXPECT_THAT(with("m-0.safetensors", "../m-0.safetensors"), HasSubstr("file of this folder"));
  EXPECT_THAT(with("model.norm.weight", "model.morn.weight"), HasSubstr("model.morn.weight"));
  // The same tensor in two files.
  folder.write("model.safetensors.index.json", index);
  std::filesystem::copy_file(folder.path() / "m-0.safetensors", folder.path() / "m-1.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error_of(folder.path()), HasSubstr("in another file of this model as well"));
}

TEST(ModelFiles, folders_without_their_parts_are_refused) {
  const TempFolder folder;
  EXPECT_THAT(error_of(folder.path() / "absent"), HasSubstr("no such model"));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("no config.json"));
  folder.write("config.json", text_of(golden("llama-tied") / "config.json"));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("neither model.safetensors nor"));
  folder.write("model.safetensors", "");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("too short"));
  folder.write("config.json", std::string(2 << 20, ' '));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("more than the 1048576 allowed"));
}

TEST(ModelFiles, names_without_the_model_prefix_are_understood) {
  const auto source = ModelFiles::open(golden("llama-tied"));
  ASSERT_TRUE(source.ok());
  const TempFolder folder;
  std::vector<TensorView> tensors;
  for (const std::string& name : source->names()) {
    tensors.push_back(*source->tensor(name));
    tensors.back().name = name.substr(std::string("model.").size());
  }
  ASSERT_TRUE(write_safetensors(folder.path() / "model.safetensors", tensors).ok());
  folder.write("config.json", text_of(golden("llama-tied") / "config.json"));
  const auto files = ModelFiles::open(folder.path());
  ASSERT_TRUE(files.ok()) << files.error().message;
  EXPECT_EQ(files->names(), source->names());
  EXPECT_EQ(files->tensor("model.norm.weight")->name, "model.norm.weight");
}

TEST(ModelFiles, chat_templates_come_from_any_of_their_places) {
  const TempFolder folder;
  folder.write("config.json", text_of(golden("llama-tied") / "config.json"));
  folder.write("model.safetensors", text_of(golden("llama-tied") / "model.safetensors"));
  const auto chat_template = [&]() -> std::string {
    const auto files = ModelFiles::open(folder.path());
    return files ? files->chat_template().value_or("none") : files.error().message;
  };
  EXPECT_EQ(chat_template(), "none");
  folder.write("tokenizer_config.json", R"({"chat_template":"one","bos_token":{"content":"<s>"}})");
  EXPECT_EQ(chat_template(), "one");
  EXPECT_EQ(ModelFiles::open(folder.path())->bos_token(), "<s>");
  folder.write("tokenizer_config.json", R"({"chat_template":[{"name":"tool_use","template":"t"},
                                             {"name":"default","template":"d"}]})");
  EXPECT_EQ(chat_template(), "d");
  folder.write("tokenizer_config.json", R"({"chat_template":[{"name":"chat","template":"c"}]})");
  EXPECT_EQ(chat_template(), "c");
  folder.write("chat_template.jinja", "file");
  EXPECT_EQ(chat_template(), "file");
  folder.write("tokenizer_config.json", R"({"chat_template":3})");
  EXPECT_THAT(chat_template(), HasSubstr("'chat_template' must be a string or a list"));
  folder.write("tokenizer_config.json", R"({"chat_template":[{"name":"x"}]})");
  EXPECT_THAT(chat_template(), HasSubstr("'template' is missing"));
}

}  // namespace
}  // namespace skvis
