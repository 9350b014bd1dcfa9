// SPDX-License-Identifier: Apache-2.0
#include "text/load_tokenizer.hpp"

#include "formats/gguf.hpp"
#include "formats/tokenizer_gguf.hpp"
#include "formats/tokenizer_json.hpp"

namespace skvis {

Result<Tokenizer> load_tokenizer(const std::filesystem::path& folder) {
  SKVIS_TRY(TokenizerSpec spec, read_tokenizer_folder(folder));
  auto tokenizer = Tokenizer::create(std::move(spec));
  if (!tokenizer) {
    return fail("{}: {}", (folder / "tokenizer.json").string(), tokenizer.error().message);
  }
  return tokenizer;
}

Result<Tokenizer> load_tokenizer(const GgufFile& gguf) {
  SKVIS_TRY(TokenizerSpec spec, read_tokenizer_gguf(gguf));
  auto tokenizer = Tokenizer::create(std::move(spec));
  if (!tokenizer) return fail("{}: {}", gguf.origin(), tokenizer.error().message);
  return tokenizer;
}

}  // namespace skvis
