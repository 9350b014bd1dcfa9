// SPDX-License-Identifier: Apache-2.0
#include "base/npy.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "base/file.hpp"
#include "files.hpp"

namespace skvis {
namespace {

class Npy : public ::testing::Test {
 protected:
  TempFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "a.npy";
};

TEST_F(Npy, what_is_written_is_read_back) {
  {
    Result<NpyWriter> writer = NpyWriter::create(path_, 3, 2);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    const float values[] = {1, 2, 3, 4, 5, -6.5f};
    ASSERT_TRUE(writer->append(std::span(values, 2)).ok());
    EXPECT_FALSE(std::filesystem::exists(path_));
    ASSERT_TRUE(writer->append(std::span(values + 2, 4)).ok());
    ASSERT_TRUE(writer->finish().ok());
  }
  Result<NpyArray> array = read_npy(path_);
  ASSERT_TRUE(array.ok()) << array.error().message;
  EXPECT_EQ(array->shape, (std::vector<size_t>{3, 2}));
  EXPECT_EQ(array->data, (std::vector<float>{1, 2, 3, 4, 5, -6.5f}));
  // NumPy itself aligns the data to 64 bytes.
  EXPECT_EQ((std::filesystem::file_size(path_) - 24) % 64, 0u);
}

TEST_F(Npy, an_unfinished_file_does_not_appear) {
  {
    Result<NpyWriter> writer = NpyWriter::create(path_, 2, 2);
    const float values[] = {1, 2, 3};
    EXPECT_FALSE(writer->append(values).ok());
    EXPECT_TRUE(writer->append(std::span(values, 2)).ok());
    EXPECT_FALSE(writer->finish().ok());
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(Npy, lying_files_are_refused) {
  const auto with_header = [&](std::string header, size_t data_bytes) {
    std::string content("\x93NUMPY\x01\x00", 8);
    content += static_cast<char>(header.size());
    content += '\0';
    content += header + std::string(data_bytes, '\0');
    EXPECT_TRUE(write_file(path_, content).ok());
    return read_npy(path_).ok();
  };
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  EXPECT_TRUE(with_header(good, 8));
  EXPECT_FALSE(with_header(good, 7));
  EXPECT_FALSE(with_header(good, 12));
  EXPECT_FALSE(with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", 8));
  EXPECT_FALSE(with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", 8));
  EXPECT_FALSE(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2", 8));
  EXPECT_FALSE(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)", 8));
  EXPECT_FALSE(
      with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967295, 4294967295)", 8));
  ASSERT_TRUE(write_file(path_, "\x93NUM").ok());
  EXPECT_FALSE(read_npy(path_).ok());
}

}  // namespace
}  // namespace skvis
