// SPDX-License-Identifier: Apache-2.0
// `skvis grammar`: check a grammar, see texts that it allows, check a text against it.
#include <algorithm>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/command.hpp"
#include "grammar/gbnf.hpp"
#include "grammar/json_schema.hpp"
#include "grammar/matcher.hpp"
#include "grammar/pattern.hpp"
#include "grammar/random_text.hpp"

namespace skvis {
namespace {

struct GrammarOptions {
  std::string schema, gbnf, regex, check;
  std::vector<std::string> choices;
  bool json_object = false;
  bool compact = false;
  bool quote = false;
  uint32_t emit = 0;
  uint64_t seed = 0;
  size_t max_bytes = 400;
};

Result<Grammar> read_grammar(const GrammarOptions& options) {
  const JsonSchemaOptions json{.compact = options.compact};
  if (!options.schema.empty()) {
    SKVIS_TRY(const std::string text, read_file(options.schema, size_t{16} << 20));
    SKVIS_TRY(const Json schema, parse_json(text, options.schema));
    return compile_json_schema(schema, json);
  }
  if (!options.gbnf.empty()) {
    SKVIS_TRY(const std::string text, read_file(options.gbnf, size_t{16} << 20));
    return parse_gbnf(text);
  }
  if (!options.regex.empty()) return compile_pattern(options.regex);
  if (!options.choices.empty()) return compile_choices(options.choices);
  return compile_json_object(json);
}

Result<void> check(const std::string& path, const std::shared_ptr<TokenAutomaton>& automaton) {
  SKVIS_TRY(std::string text, read_file(path));
  GrammarMatcher matcher(automaton);
  size_t fitting = 0;
  auto fits = matcher.accept_bytes(text, &fitting);
  if (!fits && fitting + 1 == text.size() && text.back() == '\n') {  // the file's last line ends
    text.pop_back();
    fits = matcher.accept_bytes(text, &fitting);
  }
  const std::string_view before = std::string_view(text).substr(0, fitting);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t column = fitting - (before.rfind('\n') + 1) + 1;
  if (!fits) return fail("{}, line {}, column {}: {}", path, line, column, fits.error().message);
  if (!matcher.can_end()) {
    return fail("{}, line {}, column {}: the text ends too early: expected {}", path, line, column,
                describe_bytes(matcher.next_bytes()));
  }
  fmt::print("{}: fits, {} bytes\n", path, text.size());
  return {};
}

Result<void> run_grammar(const GrammarOptions& options) {
  SKVIS_TRY(Grammar grammar, read_grammar(options));
  const size_t rules = grammar.rules().size(), states = grammar.states(), edges = grammar.edges();
  const auto automaton = byte_automaton(std::move(grammar));
  if (!options.check.empty()) SKVIS_CHECK(check(options.check, automaton));
  for (uint32_t i = 0; i < options.emit; ++i) {
    SKVIS_TRY(const std::string text, random_text(automaton, options.seed + i, options.max_bytes));
    fmt::print("{}\n", options.quote ? dump_json(Json(text)) : text);
  }
  if (options.emit > 0 || !options.check.empty()) return {};
  GrammarMatcher matcher(automaton);
  SKVIS_TRY(const std::string shortest, matcher.shortest_end(kMaxRandomBytes));
  fmt::print("{} rules, {} states, {} edges\nshortest text: {}\n", rules, states, edges, shortest);
  return {};
}

}  // namespace

void add_grammar(CLI::App& app, Action& action) {
  auto options = std::make_shared<GrammarOptions>();
  CLI::App* command =
      app.add_subcommand("grammar", "Try a JSON schema, GBNF grammar or regular expression");
  auto* source = command->add_option_group("source", "What texts may look like");
  source->add_option("--schema", options->schema, "A file with a JSON schema");
  source->add_option("--gbnf", options->gbnf, "A file with a grammar in llama.cpp's notation");
  source->add_option("--regex", options->regex, "A regular expression for the whole text");
  source->add_option("--choices", options->choices, "The texts themselves")->delimiter(',');
  source->add_flag("--json-object", options->json_object, "Any JSON object");
  source->require_option(1);
  command->add_flag("--compact", options->compact, "JSON without blanks between tokens");
  command->add_option("--check", options->check, "Does the text in this file fit?");
  command->add_option("--emit", options->emit, "Write so many random texts that fit")
      ->check(CLI::Range(1u, 1u << 20));
  command->add_option("--seed", options->seed, "Of the first random text; the next ones count on")
      ->capture_default_str();
  command
      ->add_option("--max-bytes", options->max_bytes,
                   "Random texts are brought to an end after so many bytes")
      ->capture_default_str()
      ->check(CLI::Range(size_t{1}, kMaxRandomBytes));
  command->add_flag("--quote", options->quote,
                    "Each random text as a JSON string on a line of its own");
  command->footer(
      "Without --check and --emit: the grammar's size and its shortest text.\n\nExamples:\n"
      "  skvis grammar --schema person.json --emit 3\n"
      "  skvis grammar --gbnf list.gbnf --check answer.txt\n"
      "  skvis grammar --regex '[A-Z]{3}-[0-9]+' --emit 5");
  command->callback([options, &action] { action = [options] { return run_grammar(*options); }; });
}

}  // namespace skvis
