// SPDX-License-Identifier: Apache-2.0
#include "eval/needle_text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string_view>

namespace skvis {
namespace {

constexpr std::array<std::string_view, 4> kKeys = {"London", "Paris", "Berlin", "Cairo"};
constexpr std::string_view kBlanks = " \t\r\n";
// English prose has about 4.3 bytes a token; a filler must hold a prompt at this many.
constexpr size_t kMostBytesPerToken = 8;

std::string needle_sentence(const NeedleTurn& turn) {
  return fmt::format("One of the special magic numbers for {} is: {}.", turn.key, turn.number);
}

std::string question(const NeedleTurn& turn) {
  return fmt::format("What is the special magic number for {} mentioned in the provided text?",
                     turn.key);
}

std::string begun_answer(const NeedleTurn& turn) {
  return fmt::format("The special magic number for {} mentioned in the provided text is", turn.key);
}

std::string introduction(size_t needles) {
  return needles == 1
             ? "A special magic number is hidden within the following text. Make sure to memorize "
               "it. I will quiz you about the number afterwards.\n"
             : "Some special magic numbers are hidden within the following text. Make sure to "
               "memorize them. I will quiz you about the numbers afterwards.\n";
}

// A stretch of words of the filler, from a word that the prompt's number draws.
class Filler {
 public:
  Filler(const std::string& text, size_t begin) : text_(text) {
    for (size_t at = text.find_first_not_of(kBlanks, begin); at != std::string::npos;) {
      const size_t end = std::min(text.find_first_of(kBlanks, at), text.size());
      words_.push_back({at, end});
      at = text.find_first_not_of(kBlanks, end);
    }
  }

  size_t words() const { return words_.size(); }
  // Words [begin, end) as they stand in the text.
  std::string_view stretch(size_t begin, size_t end) const {
    if (begin >= end) return {};
    return std::string_view(text_).substr(words_[begin].begin,
                                          words_[end - 1].end - words_[begin].begin);
  }

 private:
  struct Word {
    size_t begin;
    size_t end;
  };
  const std::string& text_;
  std::vector<Word> words_;
};

// The first `words` words with the needles between them.
std::string text_with_needles(const Filler& filler, size_t words,
                              std::vector<const NeedleTurn*> needles) {
  std::stable_sort(needles.begin(), needles.end(),
                   [](const NeedleTurn* a, const NeedleTurn* b) { return a->depth < b->depth; });
  std::string text;
  const auto append = [&](std::string_view part) {
    if (!text.empty() && !part.empty()) text += ' ';
    text += part;
  };
  size_t done = 0;
  for (const NeedleTurn* needle : needles) {
    const auto place = static_cast<size_t>(std::lround(needle->depth * static_cast<double>(words)));
    append(filler.stretch(done, place));
    append(needle_sentence(*needle));
    done = place;
  }
  append(filler.stretch(done, words));
  return text;
}

// The conversation as text up to the begun answer of turn `turn`.
Result<std::string> render(const LoadedModel& model, const std::string& text,
                           const std::vector<NeedleTurn>& turns, size_t turn) {
  Json messages = Json::array();
  for (size_t i = 0; i <= turn; ++i) {
    const std::string asked = question(turns[i]);
    messages.push_back(
        {{"role", "user"},
         {"content", i == 0 ? introduction(turns.size()) + text + "\n" + asked : asked}});
    if (i < turn) {
      messages.push_back({{"role", "assistant"},
                          {"content", begun_answer(turns[i]) + " " + turns[i].number + "."}});
    }
  }
  SKVIS_TRY(std::string rendered, model.chat_template->render(messages, nullptr, true));
  return rendered + begun_answer(turns[turn]);
}

// Numbers and places of the needles.
std::vector<NeedleTurn> draw_needles(const NeedleSettings& settings, const std::string& filler,
                                     uint32_t number, std::mt19937_64& random) {
  constexpr double kGoldenRatio = 0.6180339887498949;  // steps by it fill a circle evenly
  const double start = static_cast<double>(std::mt19937_64(settings.seed)() >> 11) * 0x1p-53;
  std::vector<NeedleTurn> turns(settings.turns);
  for (uint32_t i = 0; i < settings.turns; ++i) {
    const uint32_t needle = number * settings.turns + i;
    turns[i].key = kKeys[(number + i) % kKeys.size()];
    const auto taken = [&](const std::string& text) {
      const auto same = [&](const NeedleTurn& turn) { return turn.number == text; };
      return std::any_of(turns.begin(), turns.end(), same) ||
             filler.find(text) != std::string::npos;
    };
    std::string drawn;
    for (int tries = 0; tries < 1000 && (tries == 0 || taken(drawn)); ++tries) {
      drawn = fmt::format("{}", 10000 + random() % 90000);
    }
    turns[i].number = drawn;
    double unused = 0;
    turns[i].depth = settings.depths.empty()
                         ? std::modf(start + kGoldenRatio * needle, &unused)
                         : settings.depths[needle % settings.depths.size()] / 100;
  }
  return turns;
}

}  // namespace

uint32_t NeedlePrompt::tokens() const {
  size_t sum = 0;
  for (const NeedleTurn& turn : turns) sum += turn.tokens.size();
  return static_cast<uint32_t>(sum);
}

Result<NeedlePrompt> make_needle_prompt(const LoadedModel& model, const NeedleSettings& settings,
                                        const std::string& filler, uint32_t number) {
  if (!model.tokenizer || !model.chat_template) {
    return fail("{}: {}", model.name, model.tokenizer_problem);
  }
  if (settings.turns < 1 || settings.turns > kKeys.size()) {
    return fail("{} needles in a text, expected 1 to {}", settings.turns, kKeys.size());
  }
  const size_t needed = settings.context * kMostBytesPerToken;
  if (filler.size() < needed) {
    return fail("the filler has {} bytes; prompts of {} tokens need {} bytes of running text",
                filler.size(), settings.context, needed);
  }
  // Places are drawn without std's distributions, which differ from library to library.
  std::seed_seq seeds{static_cast<uint32_t>(settings.seed),
                      static_cast<uint32_t>(settings.seed >> 32), number};
  std::mt19937_64 random(seeds);
  NeedlePrompt prompt;
  prompt.turns = draw_needles(settings, filler, number, random);
  size_t begin = random() % (filler.size() - needed + 1);
  // The next word; a text without blanks is one word.
  if (begin > 0) begin = std::min(filler.find_first_of(kBlanks, begin), filler.size());
  const std::string stretch = filler.substr(begin, needed);
  const Filler source(stretch, 0);

  std::vector<const NeedleTurn*> needles;
  for (const NeedleTurn& turn : prompt.turns) needles.push_back(&turn);
  const auto tokens_of = [&](size_t words) -> Result<std::vector<uint32_t>> {
    SKVIS_TRY(const std::string text,
              render(model, text_with_needles(source, words, needles), prompt.turns, 0));
    return model.tokenizer->encode(text);
  };
  // The most words with which the prompt fits.
  SKVIS_TRY(std::vector<uint32_t> tokens, tokens_of(0));
  if (tokens.size() > settings.context) {
    return fail("the needles and the question alone have {} tokens, more than the {} of a prompt",
                tokens.size(), settings.context);
  }
  size_t low = 0;
  size_t high = source.words();
  while (low < high) {
    const size_t middle = low + (high - low + 1) / 2;
    SKVIS_TRY(std::vector<uint32_t> longer, tokens_of(middle));
    if (longer.size() <= settings.context) {
      low = middle;
      tokens = std::move(longer);
    } else {
      high = middle - 1;
    }
  }
  if (low == source.words()) {
    return fail("{} bytes of the filler make only {} tokens; prompts have {}", needed,
                tokens.size(), settings.context);
  }
  const std::string text = text_with_needles(source, low, needles);
  SKVIS_TRY(std::string before, render(model, text, prompt.turns, 0));
  for (NeedleTurn& turn : prompt.turns) {
    // The blank before a word is part of its token.
    std::string start = before.substr(0, before.find(needle_sentence(turn)));
    start.erase(start.find_last_not_of(' ') + 1);
    SKVIS_TRY(const auto ahead, model.tokenizer->encode(start));
    turn.position = static_cast<uint32_t>(ahead.size());
  }
  prompt.turns[0].tokens = std::move(tokens);
  for (size_t i = 1; i < prompt.turns.size(); ++i) {
    SKVIS_TRY(std::string after, render(model, text, prompt.turns, i));
    if (!after.starts_with(before)) {
      return fail(
          "the chat template of {} changes earlier turns when new ones come; ask for one "
          "turn only",
          model.name);
    }
    SKVIS_TRY(prompt.turns[i].tokens, model.tokenizer->encode(after.substr(before.size())));
    before = std::move(after);
  }
  return prompt;
}

}  // namespace skvis
