// SPDX-License-Identifier: Apache-2.0
// Rotary tables from a model's constants: plain, and stretched for long contexts.
#pragma once

#include "formats/model_config.hpp"
#include "kv/rotary.hpp"

namespace skvis {

// The table of every layer of the model, computed in double.
// none    theta^(-2i/d)                                        (RoFormer, arXiv 2104.09864)
// linear  all frequencies divided by the factor                (position interpolation, 2306.15595)
// llama3  low frequencies divided, high ones kept, a ramp between (Llama 3.1)
// yarn    the same by number of rotations, with an attention temperature (2309.00071)
RotaryTable make_rotary_table(const ModelConfig& config);

}  // namespace skvis
