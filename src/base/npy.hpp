// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy files, as far as tables of floats go: little-endian float32, C order, version 1.0.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace skvis {

struct NpyArray {
  std::vector<size_t> shape;
  std::vector<float> data;  // row-major
};

Result<NpyArray> read_npy(const std::filesystem::path& path);

// Writes float32 [rows, columns] row by row, so that a large table never lies in memory whole. The
// file appears under its name when finish() succeeds; an abandoned writer leaves nothing.
class NpyWriter {
 public:
  static Result<NpyWriter> create(const std::filesystem::path& path, size_t rows, size_t columns);
  NpyWriter(NpyWriter&&) noexcept = default;
  NpyWriter& operator=(NpyWriter&&) = delete;
  ~NpyWriter();

  // A whole number of rows.
  Result<void> append(std::span<const float> values);
  // All rows must have been appended.
  Result<void> finish();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  NpyWriter() = default;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::unique_ptr<std::FILE, Close> file_;
  size_t columns_ = 0;
  size_t values_left_ = 0;
};

}  // namespace skvis
