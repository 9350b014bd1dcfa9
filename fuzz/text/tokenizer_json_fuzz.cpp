// SPDX-License-Identifier: Apache-2.0
// tokenizer.json from anywhere, and any text: parse, build, encode, decode. Input: the text, a byte
// 0xff (which is in no UTF-8), the file.
#include <algorithm>
#include <cstdlib>

#include "formats/tokenizer_json.hpp"
#include "text/tokenizer.hpp"
#include "text/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skvis;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t border = input.find('\xff');
  const std::string_view text = input.substr(0, std::min<size_t>(border, 256));
  const std::string_view file = border == input.npos ? input : input.substr(border + 1);
  auto spec = parse_tokenizer_json(file, "tokenizer.json");
  if (!spec) return 0;
  const auto tokenizer = Tokenizer::create(std::move(*spec));
  if (!tokenizer) return 0;
  for (const bool parse_special : {true, false}) {
    const auto ids = tokenizer->encode(text, {.add_special = true, .parse_special = parse_special});
    if (!ids) continue;
    for (const uint32_t id : *ids) {
      if (id >= tokenizer->vocabulary_size()) std::abort();
    }
    if (find_invalid_utf8(tokenizer->decode(*ids))) std::abort();
  }
  return 0;
}
