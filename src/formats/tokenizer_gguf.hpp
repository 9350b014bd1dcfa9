// SPDX-License-Identifier: Apache-2.0
// The tokenizer in a GGUF file's metadata (keys "tokenizer.ggml.*") to a TokenizerSpec.
#pragma once

#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"

namespace skvis {

class GgufFile;

// Knows the models "gpt2" (byte-level BPE; pre-tokenizers gpt-2, llama-bpe, qwen2, smollm, default
// and their other names) and "llama" (SentencePiece BPE with scores and byte fallback). Errors name
// the metadata key.
Result<TokenizerSpec> read_tokenizer_gguf(const GgufFile& gguf);

}  // namespace skvis
