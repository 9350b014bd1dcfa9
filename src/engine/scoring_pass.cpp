// SPDX-License-Identifier: Apache-2.0
#include "engine/scoring_pass.hpp"

#include <algorithm>
#include <cassert>
#include <memory>

#include "attention/attention_step.hpp"
#include "attention/repeat_step.hpp"

namespace skvis {
namespace {

// KVzip's words, which its published results rest on.
constexpr std::string_view kWhole = "\n\nRepeat the previous context exactly.";
constexpr std::string_view kContinued =
    "\n\nRepeat the part of the previous context exactly, starting with";
constexpr size_t kReminder = 8;       // tokens of the part before
constexpr uint32_t kSliceRows = 256;  // rows of a step

// What the chat template writes between a user's message and the answer.
std::string answer_prefix(const LoadedModel& model) {
  constexpr std::string_view kMark = "0f7c";
  if (!model.chat_template || model.chat_template->is_default()) return {};
  const Json messages = Json::array({{{"role", "user"}, {"content", kMark}}});
  const auto text = model.chat_template->render(messages, nullptr, true);
  const size_t mark = text ? text->rfind(kMark) : std::string::npos;
  return mark == std::string::npos ? std::string() : text->substr(mark + kMark.size());
}

// Steps whose rows stay uncommitted until all go together, the newest first.
class Uncommitted {
 public:
  ~Uncommitted() {
    while (!steps_.empty()) steps_.pop_back();
  }
  AttentionStep& add(std::unique_ptr<AttentionStep> step) {
    steps_.push_back(std::move(step));
    return *steps_.back();
  }

 private:
  std::vector<std::unique_ptr<AttentionStep>> steps_;
};

Result<void> run_slice(Model& model, std::span<const uint32_t> tokens, const RepeatedPart& part,
                       SequenceCache& sequence, ThreadPool& threads, Uncommitted& steps) {
  const auto count = static_cast<uint32_t>(tokens.size());
  const uint32_t position = sequence.length();
  const SequenceSlice slice{.sequence = &sequence, .rows = count, .observed = false};
  SKVIS_TRY(auto begun, AttentionStep::begin({&slice, 1}, threads));
  RepeatStep step(steps.add(std::move(begun)), sequence, part, position, count, threads);
  std::vector<StepRow> rows;
  for (const uint32_t token : tokens) rows.push_back({.token = static_cast<int32_t>(token)});
  return model.forward(rows, step, {}, threads);
}

}  // namespace

RepeatInstruction repeat_instruction(const LoadedModel& model) {
  RepeatInstruction instruction;
  if (!model.tokenizer) return instruction;
  const auto encode = [&](std::string_view text) {
    auto tokens = model.tokenizer->encode(text);
    return tokens ? std::move(*tokens) : std::vector<uint32_t>();
  };
  instruction.whole = encode(kWhole);
  instruction.continued = encode(kContinued);
  instruction.answer = encode(answer_prefix(model));
  const size_t longest = std::max(instruction.whole.size(), instruction.continued.size());
  if (longest + kReminder > kMostInstruction) return {};
  if (longest + kReminder + instruction.answer.size() > kMostInstruction) {
    instruction.answer.clear();
  }
  return instruction;
}

std::vector<uint32_t> instruction_for(const RepeatInstruction& instruction,
                                      std::span<const uint32_t> prompt, uint32_t begin) {
  std::vector<uint32_t> tokens = begin == 0 ? instruction.whole : instruction.continued;
  const auto reminder = prompt.first(begin).last(std::min<size_t>(begin, kReminder));
  tokens.insert(tokens.end(), reminder.begin(), reminder.end());
  tokens.insert(tokens.end(), instruction.answer.begin(), instruction.answer.end());
  return tokens;
}

Result<bool> run_scoring_pass(Model& model, const RepeatInstruction& instruction,
                              std::span<const uint32_t> prompt, SequenceCache& sequence,
                              ThreadPool& threads,
                              const std::function<bool(size_t, size_t)>& progress) {
  assert(prompt.size() == sequence.length() && sequence.committed() == sequence.length());
  const uint32_t longest = sequence.layout().needs().scoring_pass;
  const uint32_t end = sequence.length();
  // Earlier rows were scored when they were settled.
  uint32_t begin = sequence.all_exact() ? 0 : sequence.open_begin();
  const size_t total = end - begin;
  while (begin < end) {
    const RepeatedPart part{begin, std::min(begin + longest, end), end};
    std::vector<uint32_t> block = instruction_for(instruction, prompt, begin);
    const size_t before = block.size();
    block.insert(block.end(), prompt.begin() + part.begin, prompt.begin() + part.end);
    Uncommitted steps;
    for (size_t done = 0; done < block.size();) {
      const size_t rows = std::min<size_t>(kSliceRows, block.size() - done);
      SKVIS_CHECK(
          run_slice(model, std::span(block).subspan(done, rows), part, sequence, threads, steps));
      done += rows;
      const size_t repeated = part.begin - (end - total) + done - std::min(done, before);
      if (progress && !progress(repeated, total)) return false;
    }
    begin = part.end;
  }
  return true;
}

}  // namespace skvis
