// SPDX-License-Identifier: Apache-2.0
// What the tests of models share: finding models, running texts, comparing logits.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/npy.hpp"
#include "files.hpp"
#include "model/model.hpp"
#include "model/plain_attention.hpp"

namespace skvis::testing {

inline Json read_json(const std::filesystem::path& path) {
  Result<std::string> text = read_file(path);
  EXPECT_TRUE(text.ok()) << path;
  if (!text) return {};
  Result<Json> json = parse_json(*text, path.string());
  EXPECT_TRUE(json.ok()) << path;
  return json ? *json : Json{};
}

inline std::vector<int32_t> read_ids(const std::filesystem::path& path) {
  return read_json(path).get<std::vector<int32_t>>();
}

inline Result<Model> load_model(const std::filesystem::path& path, DenseMode mode,
                                std::string_view level, ThreadPool& threads) {
  SKVIS_TRY(ModelFiles files, ModelFiles::open(path));
  SKVIS_TRY(const DensePath dense, choose_dense_path(mode, level));
  return Model::load(std::make_shared<const ModelFiles>(std::move(files)), dense, threads);
}

// Runs a text in slices of `slice` prompt rows and hands the logits [rows, vocab] of every slice to
// `receive`, with the position of their first row. Rows before `first_wanted` compute no logits.
using Receive = std::function<void(size_t first, std::span<const float> logits)>;
inline void run_text(Model& model, std::span<const int32_t> ids, size_t slice, size_t first_wanted,
                     RowKind kind, ThreadPool& threads, const Receive& receive) {
  PlainAttention attention(model.cache_shape());
  for (size_t first = 0; first < ids.size(); first += slice) {
    std::vector<StepRow> rows;
    size_t wanted = 0;
    for (size_t i = first; i < std::min(ids.size(), first + slice); ++i) {
      rows.push_back({.token = ids[i], .kind = kind, .wants_logits = i >= first_wanted});
      wanted += i >= first_wanted;
    }
    attention.begin(std::vector<size_t>(rows.size(), 0));
    std::vector<float> logits(wanted * model.config().vocab_size);
    const Result<void> done = model.forward(rows, attention, logits, threads);
    ASSERT_TRUE(done.ok()) << done.error().message;
    receive(first + rows.size() - wanted, logits);
  }
}

// The logits of the last `last` tokens, one after the other.
inline std::vector<float> text_logits(Model& model, std::span<const int32_t> ids, size_t slice,
                                      size_t last, ThreadPool& threads,
                                      RowKind kind = RowKind::prompt) {
  std::vector<float> all;
  run_text(model, ids, slice, ids.size() - last, kind, threads,
           [&](size_t, std::span<const float> logits) {
             all.insert(all.end(), logits.begin(), logits.end());
           });
  return all;
}

// |a - reference| / |reference| over all values.
template <typename A, typename B>
double relative_norm(const A& a, const B& reference) {
  if (a.size() != reference.size() || a.empty()) return INFINITY;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double r = static_cast<double>(reference[i]);
    difference += (static_cast<double>(a[i]) - r) * (static_cast<double>(a[i]) - r);
    norm += r * r;
  }
  return std::sqrt(difference / norm);
}

}  // namespace skvis::testing
