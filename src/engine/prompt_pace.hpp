// SPDX-License-Identifier: Apache-2.0
// How many rows of a prompt may ride along with the answers of a step, so that whoever reads an
// answer hardly notices the newcomer: from how long steps have taken, with prompt rows and without.
#pragma once

#include <cstdint>

namespace skvis {

class PromptPace {
 public:
  // Beside answers a step may take `stretch` times as long as it would without the prompt; 0: as
  // long as it likes.
  explicit PromptPace(double stretch) : stretch_(stretch) {}

  // Rows of a prompt beside `answers` generated rows, at most `most` and at least kLeastRows of
  // them: a prompt must come to its end.
  uint32_t rows(uint32_t answers, uint32_t most) const;
  // A step of so many rows took so long.
  void note(uint32_t prompt_rows, uint32_t answers, double seconds);

  static constexpr uint32_t kLeastRows = 16;

 private:
  double stretch_;
  double answer_step_ = 0;  // seconds of a step without prompt rows, of late; 0: not known
  double prompt_row_ = 0;   // seconds that a prompt row adds
};

}  // namespace skvis
