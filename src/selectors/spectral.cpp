// SPDX-License-Identifier: Apache-2.0
// Spectral score smoothing (AudioKV, 2026): what matters lasts for a while, so scores are blended
// with a copy of themselves that has lost its fast changes. Works on the scores of any selector.
//
//   X      = discrete Fourier transform of the scores of the rows that may go, in their order
//   k*     = the lowest bin up to which `energy` of the sum of |X_k|^2 lies
//   smooth = inverse transform of X, bins above k* fading to zero over `fade` bins (half a cosine)
//   score  = (1 - blend) score + blend smooth
//
// Scores are positive, so that the constant part holds most energy and the published rule often
// changes nothing; `constant` no (the default) leaves it out of the sum. Every prompt is
// transformed at its own length: padding would move k*. Smoothed scores may be negative.
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numbers>
#include <unsupported/Eigen/FFT>
#include <vector>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr std::array<std::string_view, 2> kNoYes = {"no", "yes"};
constexpr Parameter kBlend = {.name = "blend", .fallback = 0.5, .min = 0, .max = 1, .whole = false};
constexpr Parameter kEnergy = {
    .name = "energy", .fallback = 0.7, .min = 0, .max = 1, .whole = false};
constexpr Parameter kFade = {.name = "fade", .fallback = 2, .min = 0, .max = 64};
constexpr Parameter kConstant = {
    .name = "constant", .fallback = 0, .min = 0, .max = 1, .words = kNoYes};
constexpr std::array<Parameter, 4> kParameters = {kBlend, kEnergy, kFade, kConstant};

// The highest bin that passes whole.
size_t last_bin(const std::vector<std::complex<double>>& spectrum, double share, bool constant) {
  const size_t bins = spectrum.size() / 2 + 1;
  const size_t first = constant ? 0 : 1;
  double all = 0;
  for (size_t k = first; k < bins; ++k) all += std::norm(spectrum[k]);
  double sum = 0;
  for (size_t k = first; k < bins; ++k) {
    sum += std::norm(spectrum[k]);
    if (sum >= share * all) return k;
  }
  return bins - 1;
}

void apply(const Settings& settings, const SelectorView& view, float* scores) {
  std::vector<uint32_t> rows;
  std::vector<std::complex<double>> signal, spectrum;
  for (uint32_t j = 0; j < view.rows; ++j) {
    if (!view.droppable[j]) continue;
    rows.push_back(j);
    signal.emplace_back(scores[j]);
  }
  const size_t count = rows.size();
  const double blend = value_of(settings, kBlend);
  if (count < 2 || blend == 0) return;
  Eigen::FFT<double> transform;
  transform.fwd(spectrum, signal);
  const size_t last =
      last_bin(spectrum, value_of(settings, kEnergy), value_of(settings, kConstant) == 1);
  const double fade = value_of(settings, kFade) + 1;
  for (size_t k = 0; k < count; ++k) {
    const size_t bin = std::min(k, count - k);  // the upper half mirrors the lower
    const double beyond = bin > last ? static_cast<double>(bin - last) / fade : 0.0;
    spectrum[k] *= beyond < 1 ? (1 + std::cos(std::numbers::pi * beyond)) / 2 : 0.0;
  }
  transform.inv(signal, spectrum);
  for (size_t i = 0; i < count; ++i) {
    scores[rows[i]] = static_cast<float>((1 - blend) * scores[rows[i]] + blend * signal[i].real());
  }
}

}  // namespace

const Refinement kSpectral = {
    .name = "spectral",
    .summary = "scores blended with themselves without fast changes (AudioKV)",
    .horizon = Horizon::prompt,
    .parameters = kParameters,
    .apply = apply,
};

}  // namespace skvis
