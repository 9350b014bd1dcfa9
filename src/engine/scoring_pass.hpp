// SPDX-License-Identifier: Apache-2.0
// The second reading of a prompt, for selectors that ask for it (KVzip): the model is told to
// repeat the prompt, part by part, and rows learn how much their repetition attends to them. The
// rows of a repetition see the whole cache, are never committed, and are gone afterwards; what
// stays is the selector's number in each row. Costs two to three times the first reading.
//
//   [instruction] [last 8 tokens of the part before] [begin of an answer] [tokens of the part]
//
// Their positions follow the prompt's and may go beyond the model's context by a part and an
// instruction: RoPE is computed from the position, and nothing is generated there.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "cache/sequence_cache.hpp"
#include "engine/loaded_model.hpp"

namespace skvis {

// How a model is told to repeat, in its tokens. All empty where it has no tokenizer.
struct RepeatInstruction {
  std::vector<uint32_t> whole;      // before the first part
  std::vector<uint32_t> continued;  // before a later part, whose predecessor's end follows
  std::vector<uint32_t> answer;     // what the chat template puts between question and answer
};
RepeatInstruction repeat_instruction(const LoadedModel& model);

// What stands before tokens [begin, end) of a prompt when they are repeated; at most
// kMostInstruction tokens. `begin` 0 or not decides whether it is a later part.
std::vector<uint32_t> instruction_for(const RepeatInstruction& instruction,
                                      std::span<const uint32_t> prompt, uint32_t begin);

// Scores the rows since the last settling. `prompt`: all tokens of the sequence, which has nothing
// uncommitted and settles next. `progress(done, total)` in rows may answer false to stop, which
// leaves scores that are too low; the answer then is false.
Result<bool> run_scoring_pass(Model& model, const RepeatInstruction& instruction,
                              std::span<const uint32_t> prompt, SequenceCache& sequence,
                              ThreadPool& threads,
                              const std::function<bool(size_t, size_t)>& progress = {});

}  // namespace skvis
