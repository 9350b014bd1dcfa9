// SPDX-License-Identifier: Apache-2.0
#include "text/pre_tokenizer.hpp"

#include "text/byte_alphabet.hpp"
#include "text/normalizer.hpp"

namespace skvis {
namespace {

// The pattern of GPT-2's encoder.py; "ByteLevel" means it by use_regex.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Rewrites every piece: `write(piece, first, out)` appends its new text.
template <typename Write>
void rewrite(Pieces& pieces, Write&& write) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 4);
  bool first = true;
  for (TextRange& range : pieces.ranges) {
    const size_t begin = text.size();
    write(std::string_view(pieces.text).substr(range.begin, range.end - range.begin), first, text);
    range = {begin, text.size()};
    first = false;
  }
  pieces.text = std::move(text);
}

void spell_bytes(Pieces& pieces) {
  const auto& letters = byte_alphabet();
  rewrite(pieces, [&](std::string_view piece, bool, std::string& out) {
    for (const char byte : piece) out += letters[static_cast<uint8_t>(byte)];
  });
}

void prefix_spaces(Pieces& pieces) {
  rewrite(pieces, [](std::string_view piece, bool, std::string& out) {
    if (piece[0] != ' ') out.push_back(' ');
    out += piece;
  });
}

void mark_spaces(std::string_view mark, PrependScheme prepend, bool at_start, Pieces& pieces) {
  rewrite(pieces, [&](std::string_view piece, bool first, std::string& out) {
    const bool wanted = prepend == PrependScheme::kAlways ||
                        (prepend == PrependScheme::kFirst && at_start && first);
    if (wanted && piece[0] != ' ' && !piece.starts_with(mark)) out += mark;
    for (const char byte : piece) {
      if (byte == ' ') {
        out += mark;
      } else {
        out.push_back(byte);
      }
    }
  });
}

}  // namespace

void split_range(TextRange whole, const std::vector<TextRange>& matches, SplitBehavior behavior,
                 bool invert, std::vector<TextRange>& out) {
  const size_t first_piece = out.size();
  bool previous_matched = false;   // of the part before; merges go by it
  size_t attach_from = whole.end;  // kMergedWithNext: where a match that waits for its text begins
  const auto part = [&](TextRange range, bool is_match) {
    if (range.begin == range.end) return;
    const bool any = out.size() > first_piece;
    switch (behavior) {
      case SplitBehavior::kRemoved:
        if (!is_match) out.push_back(range);
        break;
      case SplitBehavior::kIsolated:
        out.push_back(range);
        break;
      case SplitBehavior::kContiguous:
        if (any && is_match == previous_matched) {
          out.back().end = range.end;
        } else {
          out.push_back(range);
        }
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (any && is_match && !previous_matched) {
          out.back().end = range.end;
        } else {
          out.push_back(range);
        }
        break;
      case SplitBehavior::kMergedWithNext:
        if (!is_match && attach_from < range.begin) {
          out.back().end = range.end;
        } else {
          out.push_back(range);
        }
        attach_from = is_match ? range.begin : whole.end;
        break;
    }
    previous_matched = is_match;
  };
  size_t done = whole.begin;
  for (const TextRange match : matches) {
    part({done, match.begin}, invert);
    part(match, !invert);
    if (match.begin == match.end) previous_matched = !invert;  // keeps its neighbours apart
    done = match.end;
  }
  part({done, whole.end}, invert);
}

Result<void> PreTokenizer::add_split(const SplitPieces& split) {
  if (split.pattern.text.empty()) return {};  // an empty text is found nowhere
  const std::string pattern =
      split.pattern.is_regex ? split.pattern.text : quote_regex(split.pattern.text);
  SKVIS_TRY(Regex regex, Regex::compile(pattern));
  steps_.emplace_back(Split{std::move(regex), split.behavior, split.invert});
  return {};
}

Result<PreTokenizer> PreTokenizer::create(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer made;
  for (const PreTokenizerStep& step : steps) {
    if (const auto* split = std::get_if<SplitPieces>(&step)) {
      SKVIS_CHECK(made.add_split(*split));
    } else if (const auto* spell = std::get_if<SpellBytes>(&step)) {
      if (spell->add_prefix_space) made.steps_.emplace_back(PrefixSpace{});
      if (spell->use_regex) {
        SKVIS_CHECK(made.add_split({{std::string(kGpt2Pattern), true}, {}, false}));
      }
      made.steps_.emplace_back(Spell{});
    } else {
      const auto& mark = std::get<MarkSpaces>(step);
      made.steps_.emplace_back(Mark{mark.mark, mark.prepend});
      if (mark.split) {
        SKVIS_CHECK(made.add_split({{mark.mark, false}, SplitBehavior::kMergedWithNext, false}));
      }
    }
  }
  return made;
}

Result<void> PreTokenizer::split(const Split& step, Pieces& pieces) {
  std::vector<TextRange> cut;
  cut.reserve(pieces.ranges.size() + pieces.text.size() / 4);
  std::vector<TextRange> matches;
  for (const TextRange range : pieces.ranges) {
    matches.clear();
    SKVIS_CHECK(step.regex.find_all(pieces.text, range, matches));
    split_range(range, matches, step.behavior, step.invert, cut);
  }
  pieces.ranges = std::move(cut);
  return {};
}

Result<Pieces> PreTokenizer::apply(std::string text, bool at_start) const {
  const size_t max_bytes = max_rewritten_bytes(text.size());
  Pieces pieces{std::move(text), {}};
  if (!pieces.text.empty()) pieces.ranges.push_back({0, pieces.text.size()});
  for (const Step& step : steps_) {
    if (const auto* cut = std::get_if<Split>(&step)) {
      SKVIS_CHECK(split(*cut, pieces));
    } else if (std::holds_alternative<PrefixSpace>(step)) {
      prefix_spaces(pieces);
    } else if (std::holds_alternative<Spell>(step)) {
      spell_bytes(pieces);
    } else {
      const auto& mark = std::get<Mark>(step);
      mark_spaces(mark.mark, mark.prepend, at_start, pieces);
    }
    if (pieces.text.size() > max_bytes) {
      return fail("the tokenizer's pre-tokenizer makes {} bytes, at most {} are allowed",
                  pieces.text.size(), max_bytes);
    }
  }
  return pieces;
}

}  // namespace skvis
