// SPDX-License-Identifier: Apache-2.0
// Which texts a request wants its answer to be one of, and the compiled grammars of the last ones.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "grammar/token_automaton.hpp"
#include "server/fields.hpp"

namespace skvis {

struct WantedGrammar {
  enum class Kind : uint8_t { any, json_object, json_schema, gbnf, pattern, choices };
  Kind kind = Kind::any;
  std::string text;                  // gbnf, pattern
  Json schema;                       // json_schema
  std::vector<std::string> choices;  // choices
  std::string field;                 // of the request: where it was asked for
};

// From response_format, and the fields of llama.cpp (grammar, json_schema) and vLLM
// (structured_outputs, guided_json, guided_regex, guided_choice, guided_grammar). One of them may
// ask for something.
void read_grammar(FieldReader& reader, WantedGrammar& grammar);

// Compiles grammars over one model's vocabulary and keeps those that were used last: what one
// answer has needed of a grammar, the next one finds made. From any thread.
class GrammarStore {
 public:
  // At most so many, and so much memory that they have made for themselves.
  static constexpr size_t kMostKept = 64;
  static constexpr size_t kMostBytes = size_t{256} << 20;

  // `engine` outlives the store.
  explicit GrammarStore(const Engine& engine) : engine_(engine) {}

  // Null for any text. Errors: what the notation's compiler says; a model without a tokenizer that
  // grammars can use.
  ApiResult<std::shared_ptr<TokenAutomaton>> find(const WantedGrammar& wanted);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<TokenAutomaton> automaton;
  };
  ApiResult<std::shared_ptr<const TokenVocabulary>> vocabulary();
  void forget_oldest();

  const Engine& engine_;
  std::mutex mutex_;
  std::shared_ptr<const TokenVocabulary> vocabulary_;  // made when a grammar is first asked for
  std::list<Entry> kept_;                              // last used first
};

}  // namespace skvis
