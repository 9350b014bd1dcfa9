// SPDX-License-Identifier: Apache-2.0
// Arrays of numbers with names, as calibration files hold them: gates, filters.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace skvis {

struct NamedTensor {
  std::vector<size_t> shape;
  std::vector<float> values;  // the product of shape, row-major, all finite
};

using NamedTensors = std::map<std::string, NamedTensor, std::less<>>;

}  // namespace skvis
