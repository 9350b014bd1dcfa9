// SPDX-License-Identifier: Apache-2.0
// What a tokenizer is, as plain checked data: the common form of Hugging Face's tokenizer.json and
// of the vocabulary in a GGUF file. Sequences of steps are flattened, ids are known to exist.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace skvis {

// Above every vocabulary in use (the largest have 262,144 tokens); bounds what a file can ask for.
inline constexpr size_t kMaxVocabulary = size_t{1} << 20;
inline constexpr size_t kMaxMerges = size_t{1} << 21;
inline constexpr size_t kMaxTokenBytes = 4096;
inline constexpr size_t kMaxTokenizerSteps = 64;

// A literal text or a regular expression in Oniguruma's syntax (the one tokenizer.json is written
// in).
struct TextPattern {
  std::string text;
  bool is_regex = false;
};

// Normalizer: rewrites the text between added tokens before anything else.
struct PrependText {
  std::string text;  // put before a text that is not empty
};
struct ReplaceText {
  TextPattern pattern;
  std::string content;  // literal, no references to groups
};
struct StripText {
  bool left = false;
  bool right = false;
};
enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
using NormalizerStep = std::variant<PrependText, ReplaceText, StripText, UnicodeForm>;

// Pre-tokenizer: cuts the text into pieces that no merge crosses, and spells them as the vocabulary
// does.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
struct SplitPieces {
  TextPattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what lies between the matches counts as the match
};
struct SpellBytes {  // "ByteLevel": one printable character per byte
  bool add_prefix_space = false;
  bool use_regex = true;  // GPT-2's pattern first
};
enum class PrependScheme { kNever, kFirst, kAlways };
struct MarkSpaces {  // "Metaspace": a space becomes `mark`
  std::string mark;
  PrependScheme prepend = PrependScheme::kAlways;
  bool split = true;
};
using PreTokenizerStep = std::variant<SplitPieces, SpellBytes, MarkSpaces>;

// Decoder: from token texts back to bytes.
struct DecodeBytes {};     // "ByteLevel"
struct DecodeFallback {};  // "<0xE4>" is the byte e4
struct FuseTokens {};      // steps after it see one text instead of tokens
struct StripEnds {
  std::string content;  // one character
  size_t start = 0;     // at most so many are taken away
  size_t stop = 0;
};
using DecoderStep = std::variant<ReplaceText, DecodeBytes, DecodeFallback, FuseTokens, StripEnds>;

// A token that is looked for in the text itself, before pre-tokenizer and merges.
struct AddedToken {
  uint32_t id = 0;
  std::string content;
  bool special =
      false;  // only recognised when the caller parses special tokens; skipped on request
  bool normalized = false;   // looked for after the normalizer, in its own normalized form
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool single_word = false;  // not inside a word
};

struct TokenMerge {
  uint32_t left = 0;
  uint32_t right = 0;
  uint32_t result = 0;
};

// How pieces become tokens.
enum class MergeModel {
  kRanks,   // byte pair encoding: the merge that stands first in `merges` goes first
  kScores,  // SentencePiece BPE: two neighbours whose join is a token, the highest score first
};

struct TokenizerSpec {
  MergeModel model = MergeModel::kRanks;
  // Text of every id, as the file spells it. An id no token has is in no list and has an empty
  // text.
  std::vector<std::string> tokens;
  std::vector<bool> mergeable;  // one per id: pieces of text may become this token
  std::vector<float> scores;    // one per id when model is kScores, else empty
  // In rank order; empty when model is kScores. Texts add up: left + right = result.
  std::vector<TokenMerge> merges;
  bool byte_fallback = false;   // an unknown character becomes its bytes "<0xE4>", if all exist
  bool fuse_unk = false;        // neighbouring unknown characters become one unk
  bool ignore_merges = false;   // a piece that is a token as it stands is not merged
  std::optional<uint32_t> unk;  // without it, unknown characters are dropped
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<AddedToken> added_tokens;
  std::vector<DecoderStep> decoder;
  bool has_decoder = true;       // without a decoder tokens are joined by spaces
  std::vector<uint32_t> prefix;  // put before an encoded text when special tokens are added
  std::vector<uint32_t> suffix;
  std::optional<uint32_t> bos;
  std::optional<uint32_t> eos;
  std::vector<uint32_t> end_ids;  // eos, and other tokens by which a model ends its turn
};

// Completes `spec.end_ids`: eos first, then special tokens with well-known names of an end of turn.
void find_end_ids(TokenizerSpec& spec);

}  // namespace skvis
