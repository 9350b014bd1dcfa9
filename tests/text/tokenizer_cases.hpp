// SPDX-License-Identifier: Apache-2.0
// Expected ids that lie in files, and where such files are.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "files.hpp"
#include "text/tokenizer.hpp"

namespace skvis {

struct TokenizerCase {
  std::string text;
  std::vector<uint32_t> ids;
};

// [{"text": ..., "ids": [...]}]
inline std::vector<TokenizerCase> read_cases(const std::filesystem::path& path) {
  std::vector<TokenizerCase> cases;
  const auto text = read_file(path);
  if (!text) return ADD_FAILURE() << text.error().message, cases;
  const auto json = parse_json(*text, path.string());
  if (!json) return ADD_FAILURE() << json.error().message, cases;
  for (const Json& entry : *json) {
    cases.push_back({entry["text"].get<std::string>(), entry["ids"].get<std::vector<uint32_t>>()});
  }
  return cases;
}

// llama.cpp's pairs: texts divided by a marker line, and a line of ids for each.
inline std::vector<TokenizerCase> read_llama_cpp_cases(const std::filesystem::path& path) {
  constexpr std::string_view kMarker = "\n__ggml_vocab_test__\n";
  std::vector<TokenizerCase> cases;
  const auto inputs = read_file(path.string() + ".inp");
  const auto outputs = read_file(path.string() + ".out");
  if (!inputs || !outputs) return ADD_FAILURE() << "no cases beside " << path, cases;
  std::string_view texts = *inputs;
  std::istringstream lines(*outputs);
  for (std::string line; std::getline(lines, line);) {
    const size_t end = texts.find(kMarker);
    if (end == texts.npos) return ADD_FAILURE() << "more ids than texts", cases;
    TokenizerCase one{std::string(texts.substr(0, end)), {}};
    std::istringstream numbers(line);
    for (uint32_t id = 0; numbers >> id;) one.ids.push_back(id);
    cases.push_back(std::move(one));
    texts.remove_prefix(end + kMarker.size());
  }
  return cases;
}

inline void expect_encodes(const Tokenizer& tokenizer, const std::vector<TokenizerCase>& cases) {
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto ids = tokenizer.encode(cases[i].text);
    ASSERT_TRUE(ids.ok()) << "case " << i << ": " << ids.error().message;
    EXPECT_EQ(*ids, cases[i].ids) << "case " << i << ": " << cases[i].text;
  }
}

}  // namespace skvis
