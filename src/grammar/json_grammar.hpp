// SPDX-License-Identifier: Apache-2.0
// Pieces of JSON text, as grammars. Gaps: behind '{', '[', ',' and ':' and before '}' and ']' (once
// where a list is empty) one space, or one end of line and at most 16 blanks, may stand; nothing
// may elsewhere. A model can therefore not write blanks for ever.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "grammar/grammar_builder.hpp"

namespace skvis {

class JsonGrammar {
 public:
  using Expression = GrammarBuilder::Expression;

  // Without gaps if `compact`. `builder` must outlive this object.
  JsonGrammar(GrammarBuilder& builder, bool compact);

  // Nesting is unbounded in these three.
  Expression any_value();
  Expression any_object();
  Expression any_array();
  // A string of so many characters, kUnlimited for no bound.
  Expression string(uint32_t min, uint32_t max);
  // Quotes around characters made by string_character().
  Expression quoted(Expression inside);
  // One of the characters, each written in one way: escaped where it must be, plain otherwise.
  Expression string_character(const CodePointSet& set);
  // A string that is none of `names`.
  Expression name_except(const std::vector<std::string>& names);
  // Values: these, with gaps.
  Expression constants(const std::vector<Json>& values);

  struct Member {
    std::string name;
    Expression value;
    bool required = false;
  };
  // Members in this order, those not required perhaps absent; behind them further members with
  // other names whose values are `others`, if given.
  Expression object(const std::vector<Member>& members, std::optional<Expression> others);
  // Elements: `first` ones each by its own expression, all further ones by `rest`.
  Expression array(const std::vector<Expression>& first, Expression rest, uint32_t min,
                   uint32_t max);

 private:
  Expression rule(const char* name, Expression body);
  Expression free_character();
  Expression comma() { return builder_.sequence({builder_.literal(","), gap_}); }
  Expression pair(Expression name, Expression value);
  Expression enclosed(const char* open, Expression inside, bool may_be_empty, const char* close);
  Expression constant(const Json& value);

  GrammarBuilder& builder_;
  Expression gap_;
  std::optional<Expression> any_value_, any_object_, any_array_, any_string_, free_character_;
};

}  // namespace skvis
