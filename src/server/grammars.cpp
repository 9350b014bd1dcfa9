// SPDX-License-Identifier: Apache-2.0
#include "server/grammars.hpp"

#include <algorithm>

#include "engine/grammar_vocabulary.hpp"
#include "grammar/gbnf.hpp"
#include "grammar/json_schema.hpp"
#include "grammar/pattern.hpp"

namespace skvis {
namespace {

using Kind = WantedGrammar::Kind;

std::string key_of(const WantedGrammar& wanted) {
  std::string key(1, static_cast<char>('0' + static_cast<int>(wanted.kind)));
  key += wanted.text;
  if (wanted.kind == Kind::json_schema) key += wanted.schema.dump();
  if (wanted.kind == Kind::choices) key += Json(wanted.choices).dump();
  return key;
}

Result<Grammar> compile(const WantedGrammar& wanted) {
  switch (wanted.kind) {
    case Kind::json_object:
      return compile_json_object();
    case Kind::json_schema:
      return compile_json_schema(wanted.schema);
    case Kind::gbnf:
      return parse_gbnf(wanted.text);
    case Kind::pattern:
      return compile_pattern(wanted.text);
    case Kind::choices:
      return compile_choices(wanted.choices);
    case Kind::any:
      break;
  }
  return fail("no grammar");
}

}  // namespace

ApiResult<std::shared_ptr<const TokenVocabulary>> GrammarStore::vocabulary() {
  if (vocabulary_) return vocabulary_;
  const LoadedModel& model = engine_.model();
  auto made = grammar_vocabulary(*model.tokenizer, model.end_ids, engine_.vocabulary());
  if (!made) return bad_request(made.error().message, "model");
  vocabulary_ = std::move(*made);
  return vocabulary_;
}

ApiResult<std::shared_ptr<TokenAutomaton>> GrammarStore::find(const WantedGrammar& wanted) {
  if (wanted.kind == Kind::any) return std::shared_ptr<TokenAutomaton>();
  const std::string key = key_of(wanted);
  const std::lock_guard lock(mutex_);
  const auto known = std::find_if(kept_.begin(), kept_.end(),
                                  [&](const Entry& entry) { return entry.key == key; });
  if (known != kept_.end()) {
    kept_.splice(kept_.begin(), kept_, known);
    return kept_.front().automaton;
  }
  SKVIS_TRY(std::shared_ptr<const TokenVocabulary> tokens, vocabulary());
  auto grammar = compile(wanted);
  if (!grammar) {
    return bad_request(fmt::format("request: '{}': {}", wanted.field, grammar.error().message),
                       wanted.field, "invalid_grammar");
  }
  kept_.push_front({key, std::make_shared<TokenAutomaton>(std::move(*grammar), tokens)});
  forget_oldest();
  return kept_.front().automaton;
}

// Answers that run hold theirs.
void GrammarStore::forget_oldest() {
  size_t bytes = 0;
  size_t count = 0;
  for (auto entry = kept_.begin(); entry != kept_.end();) {
    bytes += entry->automaton->bytes() + entry->key.size();
    const bool keep = count == 0 || (count < kMostKept && bytes <= kMostBytes);
    ++count;
    entry = keep ? std::next(entry) : kept_.erase(entry);
  }
}

}  // namespace skvis
