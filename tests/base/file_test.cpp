// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "files.hpp"

namespace skvis {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// A folder of its own for each test, removed afterwards.
class FileTest : public testing::Test {
 protected:
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }

  const TempFolder temp_;
  const fs::path folder_ = temp_.path();
};

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_F(FileTest, what_was_written_is_read_back_byte_for_byte) {
  std::string content(300000, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 % 251);
  ASSERT_TRUE(write_file(folder_ / "a", content).ok());
  EXPECT_EQ(*read_file(folder_ / "a"), content);
}

TEST_F(FileTest, empty_file_is_read_and_mapped_as_nothing) {
  ASSERT_TRUE(write_file(folder_ / "empty", "").ok());
  EXPECT_EQ(*read_file(folder_ / "empty"), "");
  const Result<MappedFile> mapped = MappedFile::open(folder_ / "empty");
  ASSERT_TRUE(mapped.ok());
  EXPECT_TRUE(mapped->bytes().empty());
}

TEST_F(FileTest, writing_replaces_the_whole_file_and_leaves_nothing_else) {
  ASSERT_TRUE(write_file(folder_ / "a", "a long first version").ok());
  ASSERT_TRUE(write_file(folder_ / "a", "short").ok());
  EXPECT_EQ(*read_file(folder_ / "a"), "short");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, reader_of_the_old_file_keeps_it_while_it_is_replaced) {
  ASSERT_TRUE(write_file(folder_ / "a", "old").ok());
  const Result<MappedFile> old = MappedFile::open(folder_ / "a");
  ASSERT_TRUE(old.ok());
  ASSERT_TRUE(write_file(folder_ / "a", "new").ok());
  EXPECT_EQ(text_of(*old), "old");
  EXPECT_EQ(*read_file(folder_ / "a"), "new");
}

TEST_F(FileTest, size_limit_is_exact_and_named) {
  ASSERT_TRUE(write_file(folder_ / "a", "12345").ok());
  EXPECT_TRUE(read_file(folder_ / "a", 5).ok());
  EXPECT_THAT(read_file(folder_ / "a", 4).error().message,
              AllOf(StartsWith((folder_ / "a").string()), HasSubstr("5 bytes, more than the 4")));
}

TEST_F(FileTest, missing_file_is_named) {
  const fs::path path = folder_ / "missing";
  for (const std::string& message :
       {read_file(path).error().message, MappedFile::open(path).error().message}) {
    EXPECT_THAT(message, AllOf(HasSubstr(path.string()), HasSubstr("No such file")));
  }
}

TEST_F(FileTest, folders_and_pipes_are_refused_without_waiting) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const fs::path& path : {folder_, pipe}) {
    EXPECT_THAT(read_file(path).error().message, HasSubstr("not a regular file"));
    EXPECT_THAT(MappedFile::open(path).error().message, HasSubstr("not a regular file"));
  }
}

TEST_F(FileTest, writing_into_a_missing_folder_fails_and_names_the_file) {
  const fs::path path = folder_ / "missing" / "a";
  const Result<void> result = write_file(path, "x");
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, StartsWith(path.string()));
}

TEST_F(FileTest, failed_replacement_leaves_the_target_and_no_temporary_file) {
  fs::create_directory(folder_ / "taken");
  ASSERT_TRUE(write_file(folder_ / "taken" / "inside", "x").ok());
  EXPECT_FALSE(write_file(folder_ / "taken", "content").ok());
  EXPECT_EQ(*read_file(folder_ / "taken" / "inside"), "x");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, mapping_moves_and_its_bytes_stay_where_they_are) {
  ASSERT_TRUE(write_file(folder_ / "a", "first").ok());
  ASSERT_TRUE(write_file(folder_ / "b", "second").ok());
  Result<MappedFile> a = MappedFile::open(folder_ / "a");
  Result<MappedFile> b = MappedFile::open(folder_ / "b");
  ASSERT_TRUE(a.ok() && b.ok());
  const std::byte* address = a->bytes().data();
  MappedFile moved = *std::move(a);
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_EQ(moved.path(), folder_ / "a");
  moved = *std::move(b);
  EXPECT_EQ(text_of(moved), "second");
}

TEST_F(FileTest, dropped_pages_are_read_again) {
  const std::string content(100000, 'q');
  ASSERT_TRUE(write_file(folder_ / "a", content).ok());
  const Result<MappedFile> mapped = MappedFile::open(folder_ / "a");
  ASSERT_TRUE(mapped.ok());
  mapped->drop_resident(0, content.size());
  mapped->drop_resident(5, 10);
  mapped->drop_resident(content.size(), SIZE_MAX);
  mapped->drop_resident(1, SIZE_MAX);
  EXPECT_EQ(text_of(*mapped), content);
}

}  // namespace
}  // namespace skvis
