// SPDX-License-Identifier: Apache-2.0
// `skvis tokenize` and `skvis detokenize`.
#include <iostream>
#include <iterator>

#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/command.hpp"

namespace skvis {
namespace {

struct TokenizeOptions {
  std::string model = "smollm2";
  std::string text;
  std::string file;
  bool ids_only = false;
  bool add_special = false;
  std::vector<uint32_t> ids;
};

Result<Tokenizer> open_tokenizer(const std::string& model) {
  SKVIS_TRY(const auto path, find_model(model));
  SKVIS_TRY(const ModelFiles files, ModelFiles::open(path));
  ModelText text = load_text(files);
  if (!text.tokenizer) return fail("{}: {}", model, text.tokenizer_problem);
  return std::move(*text.tokenizer);
}

Result<void> tokenize(const TokenizeOptions& options) {
  SKVIS_TRY(const Tokenizer tokenizer, open_tokenizer(options.model));
  std::string text = options.text;
  if (!options.file.empty()) {
    SKVIS_TRY(text, read_file(options.file));
  }
  SKVIS_TRY(const auto ids, tokenizer.encode(text, {.add_special = options.add_special}));
  if (options.ids_only) {
    fmt::print("[{}]\n", fmt::join(ids, ", "));
    return {};
  }
  for (const uint32_t id : ids) {
    fmt::print("{:>7}  {}\n", id, dump_json(Json(std::string(tokenizer.token_bytes(id)))));
  }
  fmt::print("{} tokens\n", ids.size());
  return {};
}

Result<void> detokenize(const TokenizeOptions& options) {
  SKVIS_TRY(const Tokenizer tokenizer, open_tokenizer(options.model));
  std::vector<uint32_t> ids = options.ids;
  if (ids.empty()) {  // a JSON array, or numbers between blanks, on standard input
    std::string text(std::istreambuf_iterator<char>(std::cin), {});
    for (char& c : text) {
      if (c == '[' || c == ']' || c == ',') c = ' ';
    }
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      char* end = nullptr;
      const unsigned long id = std::strtoul(word.c_str(), &end, 10);
      if (*end != '\0' || id > UINT32_MAX) return fail("'{}' is no token id", word);
      ids.push_back(static_cast<uint32_t>(id));
    }
  }
  for (const uint32_t id : ids) {
    if (id >= tokenizer.vocabulary_size()) {
      return fail("token {} is outside the vocabulary of {}", id, tokenizer.vocabulary_size());
    }
  }
  fmt::print("{}\n", tokenizer.decode(ids));
  return {};
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Show the tokens of a text");
  command->add_option("-m,--model", options->model, "Whose tokenizer")->capture_default_str();
  auto* text = command->add_option("text", options->text, "The text");
  auto* file = command->add_option("-f,--file", options->file, "Read the text from a file");
  text->excludes(file);
  command->add_flag("--ids", options->ids_only, "Only the ids, as a JSON array");
  command->add_flag("--add-special", options->add_special,
                    "Put what the tokenizer puts around a text (BOS, EOS)");
  command->footer("Example:\n  skvis tokenize --model smollm2 \"Hello, world!\"");
  command->callback([options, text, file, &action] {
    if (text->count() + file->count() == 0) throw CLI::RequiredError("TEXT or --file");
    action = [options] { return tokenize(*options); };
  });

  CLI::App* back = app.add_subcommand("detokenize", "Show the text of token ids");
  back->add_option("-m,--model", options->model, "Whose tokenizer")->capture_default_str();
  back->add_option("ids", options->ids, "Token ids (default: from standard input)");
  back->footer("Example:\n  skvis detokenize --model smollm2 19556 28 905 17");
  back->callback([options, &action] { action = [options] { return detokenize(*options); }; });
}

}  // namespace skvis
