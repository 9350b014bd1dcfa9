// SPDX-License-Identifier: Apache-2.0
// What constrained decoding adds to a token: documents as models write them, under schemas as
// people use them. The first pass finds nothing made, later ones everything.
#include <fmt/core.h>
#include <time.h>

#include <algorithm>

#include "bench/bandwidth.hpp"
#include "bench/bench.hpp"
#include "engine/grammar_vocabulary.hpp"
#include "grammar/json_schema.hpp"
#include "grammar/matcher.hpp"

namespace skvis {
namespace {

// The thread's own time: single masks take microseconds, in which other programs would be seen.
double now_micros() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) + 1e-3 * static_cast<double>(now.tv_nsec);
}
double micros_since(double start) {
  return now_micros() - start;
}

struct Case {
  const char* name;
  const char* schema;
  const char* document;
};

constexpr const char* kProse =
    "The river rises in the hills north of the town, bends twice around the old quarry, and is "
    "joined by \\\"three\\\" smaller streams before it reaches the plain. Crossing it was always "
    "dangerous in spring: in 1874 the water stood 4.5 m above the bridge\\u2019s deck, and the "
    "ferry "
    "— a flat boat on a chain — was lost. Nobody has rebuilt it since.";

const Case kCases[] = {
    {"person",
     R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,
         "maximum":150},"email":{"type":"string","format":"email"},"role":{"enum":["admin","editor",
         "viewer"]},"tags":{"type":"array","items":{"type":"string","maxLength":20},"maxItems":8},
         "score":{"type":"number","minimum":0,"maximum":1}},
         "required":["name","age","email","role","tags","score"],"additionalProperties":false})",
     R"({"name": "Ada Lovelace", "age": 36, "email": "ada.lovelace@example.org", "role": "editor",
         "tags": ["mathematics", "engines", "letters"], "score": 0.875})"},
    {"optional",
     R"({"$defs":{"step":{"type":"object","properties":{"title":{"type":"string"},"minutes":
         {"type":"integer"},"notes":{"type":["string","null"]},"steps":{"type":"array","items":
         {"$ref":"#/$defs/step"}}},"required":["title"]}},"$ref":"#/$defs/step"})",
     R"({"title": "Bake bread", "minutes": 180, "steps": [{"title": "Knead", "minutes": 15, "steps":
         [{"title": "Flour"}, {"title": "Water", "notes": "lukewarm, not hot"}]}, {"title": "Wait",
         "notes": null}]})"},
    {"json object", R"({"type":"object"})",
     R"({"id": 17, "values": [1, 2.5, -3e4, true, null], "nested": {"a": {"b": ["c", "d"]}}, "text":
         "free strings everywhere, and names too"})"},
    {"prose", R"({"type":"object","properties":{"text":{"type":"string"}},"required":["text"]})",
     nullptr},
    {"prose, at most 2000", R"({"type":"object","properties":{"text":{"type":"string","maxLength":
         2000}},"required":["text"]})",
     nullptr},
};

// The document on one line: the blanks of its source are not its own.
std::string document_of(const Case& each) {
  std::string text;
  if (each.document == nullptr) return fmt::format("{{\"text\": \"{}\"}}", kProse);
  for (const char* at = each.document; *at != '\0'; ++at) {
    if (*at == '\n') {
      if (!text.empty() && text.back() == ' ') text.pop_back();
      while (at[1] == ' ') ++at;
      text += ' ';
    } else {
      text += *at;
    }
  }
  return text;
}

struct Pass {
  std::vector<double> masks;    // microseconds, by token
  std::vector<double> accepts;  // the same
  double allowed = 0;           // mean share of the vocabulary
};

Result<Pass> walk(const std::shared_ptr<TokenAutomaton>& automaton,
                  std::span<const uint32_t> tokens) {
  Pass pass;
  GrammarMatcher matcher(automaton);
  TokenMask mask(automaton->vocabulary().size());
  for (const uint32_t token : tokens) {
    auto start = now_micros();
    SKVIS_TRY(const size_t count, matcher.fill_mask(mask));
    pass.masks.push_back(micros_since(start));
    if (!mask.allows(token)) return fail("token {} of a document is not in the mask", token);
    pass.allowed += static_cast<double>(count) / static_cast<double>(mask.size() * tokens.size());
    start = now_micros();
    SKVIS_CHECK(matcher.accept(token));
    pass.accepts.push_back(micros_since(start));
  }
  if (!matcher.can_end()) return fail("a document does not end where it should");
  return pass;
}

Result<Json> bench_case(const Case& each, const Tokenizer& tokenizer,
                        const std::shared_ptr<const TokenVocabulary>& vocabulary,
                        const GrammarBench& options) {
  SKVIS_TRY(const Json schema, parse_json(each.schema, each.name));
  auto start = now_micros();
  SKVIS_TRY(Grammar grammar, compile_json_schema(schema));
  const double compile = micros_since(start);
  const auto automaton = std::make_shared<TokenAutomaton>(std::move(grammar), vocabulary);
  SKVIS_TRY(const auto tokens, tokenizer.encode(document_of(each), {.parse_special = false}));
  SKVIS_TRY(const Pass first, walk(automaton, tokens));
  std::vector<double> medians, largest, accepts;
  for (uint32_t i = 0; i < options.repeats; ++i) {
    SKVIS_TRY(Pass pass, walk(automaton, tokens));
    largest.push_back(*std::max_element(pass.masks.begin(), pass.masks.end()));
    medians.push_back(median(pass.masks));
    accepts.push_back(median(pass.accepts));
  }
  double sum = 0;
  for (const double mask : first.masks) sum += mask;
  const double first_mean = sum / static_cast<double>(tokens.size());
  const double first_largest = *std::max_element(first.masks.begin(), first.masks.end());
  fmt::print(
      "{:<20} {:>4} tokens, {:>4.1f} % allowed; compiled in {:.2f} ms; masks first {:.0f} us "
      "(largest "
      "{:.0f}), then {:.1f} us (largest {:.1f}); accept {:.2f} us; {:.1f} MiB\n",
      each.name, tokens.size(), 100 * first.allowed, compile / 1000, first_mean, first_largest,
      median(medians), median(largest), median(accepts),
      static_cast<double>(automaton->bytes()) / (1 << 20));
  std::fflush(stdout);
  return Json{{"schema", each.name},
              {"tokens", tokens.size()},
              {"allowed_share", first.allowed},
              {"compile_us", compile},
              {"first_mask_us", first_mean},
              {"first_mask_largest_us", first_largest},
              {"mask_us", median(medians)},
              {"mask_largest_us", median(largest)},
              {"accept_us", median(accepts)},
              {"bytes", automaton->bytes()}};
}

}  // namespace

Result<Json> bench_grammar(const Tokenizer& tokenizer, const GrammarBench& options) {
  const auto start = now_micros();
  SKVIS_TRY(const auto vocabulary, grammar_vocabulary(tokenizer, tokenizer.end_ids()));
  const double made = micros_since(start);
  fmt::print("{} tokens, {} nodes, made in {:.0f} ms; the thread's own time\n", vocabulary->size(),
             vocabulary->nodes().size(), made / 1000);
  Json cases = Json::array();
  for (const Case& each : kCases) {
    SKVIS_TRY(Json report, bench_case(each, tokenizer, vocabulary, options));
    cases.push_back(std::move(report));
  }
  return Json{{"bench", "grammar"},
              {"vocabulary", vocabulary->size()},
              {"vocabulary_us", made},
              {"cases", cases}};
}

}  // namespace skvis
