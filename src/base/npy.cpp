// SPDX-License-Identifier: Apache-2.0
#include "base/npy.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/file.hpp"

namespace skvis {
namespace {

constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);
constexpr size_t kPrefix = 10;  // magic, version, header length in two bytes
constexpr size_t kMaxValues = size_t{1} << 32;

std::string header(size_t rows, size_t columns) {
  std::string text =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  // The data begins at a multiple of 64 bytes; the padding ends with a newline.
  const size_t padded = (kPrefix + text.size() + 1 + 63) / 64 * 64;
  text.resize(padded - kPrefix - 1, ' ');
  text += '\n';
  std::string all(kMagic);
  all += static_cast<char>(text.size() & 0xff);
  all += static_cast<char>(text.size() >> 8);
  return all + text;
}

// The numbers between the parentheses after 'shape'.
Result<std::vector<size_t>> parse_shape(std::string_view text, const std::string& file) {
  const size_t key = text.find("'shape'");
  const size_t open = key == text.npos ? text.npos : text.find('(', key);
  const size_t close = open == text.npos ? text.npos : text.find(')', open);
  if (close == text.npos) return fail("{}: the header has no shape", file);
  std::vector<size_t> shape;
  size_t number = 0;
  bool digits = false;
  for (const char c : text.substr(open + 1, close - open)) {
    if (c >= '0' && c <= '9') {
      number = number * 10 + static_cast<size_t>(c - '0');
      digits = true;
      if (number > kMaxValues) return fail("{}: a dimension exceeds {}", file, kMaxValues);
    } else if (c == ',' || c == ')') {
      if (digits) shape.push_back(number);
      number = 0;
      digits = false;
    } else if (c != ' ') {
      return fail("{}: the shape holds {:?}, expected whole numbers", file, c);
    }
  }
  return shape;
}

}  // namespace

Result<NpyArray> read_npy(const std::filesystem::path& path) {
  const std::string file = path.string();
  SKVIS_TRY(const std::string content, read_file(path, size_t{16} << 30));
  if (!content.starts_with(kMagic) || content.size() < kPrefix) {
    return fail("{}: no .npy file of version 1.0", file);
  }
  const size_t length =
      static_cast<uint8_t>(content[8]) | static_cast<size_t>(static_cast<uint8_t>(content[9])) << 8;
  if (content.size() < kPrefix + length) return fail("{}: the header is cut off", file);
  const std::string_view text = std::string_view(content).substr(kPrefix, length);
  if (text.find("'<f4'") == text.npos || text.find("'fortran_order': False") == text.npos) {
    return fail("{}: expected little-endian float32 in C order, found {}", file, text);
  }
  NpyArray array;
  SKVIS_TRY(array.shape, parse_shape(text, file));
  size_t values = 1;
  for (const size_t dimension : array.shape) {
    if (dimension != 0 && values > kMaxValues / dimension) {
      return fail("{}: more than {} values", file, kMaxValues);
    }
    values *= dimension;
  }
  const size_t bytes = content.size() - kPrefix - length;
  if (bytes != values * sizeof(float)) {
    return fail("{}: expected {} bytes of data, found {}", file, values * sizeof(float), bytes);
  }
  array.data.resize(values);
  if (values != 0) std::memcpy(array.data.data(), content.data() + kPrefix + length, bytes);
  return array;
}

Result<NpyWriter> NpyWriter::create(const std::filesystem::path& path, size_t rows,
                                    size_t columns) {
  NpyWriter writer;
  writer.path_ = path;
  writer.temporary_ = path;
  writer.temporary_ += fmt::format(".{}.part", getpid());
  writer.columns_ = columns;
  writer.values_left_ = rows * columns;
  writer.file_.reset(std::fopen(writer.temporary_.c_str(), "wb"));
  if (!writer.file_) return fail("{}: cannot be written: {}", path.string(), strerror(errno));
  const std::string text = header(rows, columns);
  if (std::fwrite(text.data(), 1, text.size(), writer.file_.get()) != text.size()) {
    return fail("{}: cannot be written: {}", path.string(), strerror(errno));
  }
  return writer;
}

NpyWriter::~NpyWriter() {
  if (!file_) return;
  file_.reset();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

Result<void> NpyWriter::append(std::span<const float> values) {
  if (columns_ == 0 || values.size() % columns_ != 0 || values.size() > values_left_) {
    return fail("{}: {} values appended, expected rows of {} and at most {}", path_.string(),
                values.size(), columns_, values_left_);
  }
  if (std::fwrite(values.data(), sizeof(float), values.size(), file_.get()) != values.size()) {
    return fail("{}: cannot be written: {}", path_.string(), strerror(errno));
  }
  values_left_ -= values.size();
  return {};
}

Result<void> NpyWriter::finish() {
  if (values_left_ != 0) return fail("{}: {} values are missing", path_.string(), values_left_);
  if (std::fflush(file_.get()) != 0) {
    return fail("{}: cannot be written: {}", path_.string(), strerror(errno));
  }
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  if (error) return fail("{}: cannot be written: {}", path_.string(), error.message());
  file_.reset();
  return {};
}

}  // namespace skvis
