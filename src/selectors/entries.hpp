// SPDX-License-Identifier: Apache-2.0
// The entries of the registry, one per file of this room, and what they share.
#pragma once

#include "selectors/selector.hpp"

namespace skvis {

extern const Selector kStreaming;
extern const Selector kSnapkv;
extern const Selector kKnorm;
extern const Selector kKeydiff;
extern const Selector kLagkv;
extern const Selector kTova;
extern const Selector kChunk;
extern const Selector kH2o;
extern const Selector kH2oGrid;
extern const Selector kExpected;
extern const Selector kTree;
extern const Selector kEms;
extern const Selector kQFilters;
extern const Selector kKvzip;
extern const Selector kGate;
extern const Selector kFastkv;
extern const Selector kUncomp;
extern const Refinement kCritical;
extern const Refinement kSpectral;

// The length of row j, in double.
double norm_of(const RowsView& rows, size_t j);

}  // namespace skvis
