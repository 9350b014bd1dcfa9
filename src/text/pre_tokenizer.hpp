// SPDX-License-Identifier: Apache-2.0
// Cuts text into pieces that merges do not cross, and spells the pieces as the vocabulary does.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"
#include "text/regex.hpp"

namespace skvis {

// One buffer and the pieces in it, in order.
struct Pieces {
  std::string text;
  std::vector<TextRange> ranges;
};

class PreTokenizer {
 public:
  static Result<PreTokenizer> create(const std::vector<PreTokenizerStep>& steps);

  // `at_start`: the text is the first of its input, not one behind an added token.
  Result<Pieces> apply(std::string text, bool at_start) const;

 private:
  struct Split {
    Regex regex;
    SplitBehavior behavior;
    bool invert;
  };
  struct PrefixSpace {};  // a space before every piece that has none
  struct Spell {};        // bytes to the alphabet of bytes
  struct Mark {
    std::string mark;
    PrependScheme prepend;
  };
  using Step = std::variant<Split, PrefixSpace, Spell, Mark>;

  Result<void> add_split(const SplitPieces& split);
  static Result<void> split(const Split& step, Pieces& pieces);

  std::vector<Step> steps_;
};

// Cuts `whole` at `matches` (in order, without overlap) and appends the pieces, none of them empty.
void split_range(TextRange whole, const std::vector<TextRange>& matches, SplitBehavior behavior,
                 bool invert, std::vector<TextRange>& out);

}  // namespace skvis
