// SPDX-License-Identifier: Apache-2.0
// Means and how firm they are.
#pragma once

#include <cstddef>
#include <span>

namespace skvis {

// A mean and its standard error: the sample's deviation (divisor count - 1) over the root of the
// count. The error of a single value is unknown and given as NaN.
struct Estimate {
  double mean = 0;
  double error = 0;
  size_t count = 0;
};
Estimate estimate(std::span<const double> values);
// Of the differences a[i] - b[i]: what is common to both cancels.
Estimate paired_difference(std::span<const double> a, std::span<const double> b);

// The value below which the share `q` of the values lies, between neighbours by proportion. Orders
// `values`, of which there is one at least.
double quantile(std::span<double> values, double q);

}  // namespace skvis
