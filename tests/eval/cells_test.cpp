// SPDX-License-Identifier: Apache-2.0
#include "eval/cells.hpp"

#include <gmock/gmock.h>

#include "base/file.hpp"
#include "files.hpp"

namespace skvis {
namespace {

using ::testing::HasSubstr;

Json cell(const std::string& name, int value) {
  return {{"cell", name}, {"value", value}};
}

TEST(Cells, what_was_written_is_found_when_a_run_goes_on) {
  const TempFolder folder;
  const std::string path = (folder.path() / "out.jsonl").string();
  {
    auto cells = CellFile::open(path, false);
    ASSERT_TRUE(cells.ok());
    ASSERT_TRUE(cells->add(cell("a", 1)).ok());
    ASSERT_TRUE(cells->add(cell("b", 2)).ok());
    EXPECT_EQ((*cells->find("b"))["value"], 2);
  }
  auto cells = CellFile::open(path, true);
  ASSERT_TRUE(cells.ok()) << cells.error().message;
  ASSERT_NE(cells->find("a"), nullptr);
  EXPECT_EQ((*cells->find("a"))["value"], 1);
  EXPECT_EQ(cells->find("c"), nullptr);
  ASSERT_TRUE(cells->add(cell("c", 3)).ok());
  EXPECT_EQ(*read_file(path),
            "{\"cell\":\"a\",\"value\":1}\n{\"cell\":\"b\",\"value\":2}\n"
            "{\"cell\":\"c\",\"value\":3}\n");
}

TEST(Cells, results_are_not_overwritten_without_resume) {
  const TempFolder folder;
  const std::string path = folder.write("out.jsonl", "{\"cell\":\"a\"}\n").string();
  const auto refused = CellFile::open(path, false);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("--resume"));
  EXPECT_TRUE(CellFile::open(folder.write("empty.jsonl", "").string(), false).ok());
  EXPECT_TRUE(CellFile::open((folder.path() / "new.jsonl").string(), true).ok());
}

TEST(Cells, a_last_line_that_was_cut_off_is_measured_again) {
  const TempFolder folder;
  const std::string path = folder.write("out.jsonl", "{\"cell\":\"a\"}\n{\"cell\":\"b").string();
  auto cells = CellFile::open(path, true);
  ASSERT_TRUE(cells.ok()) << cells.error().message;
  EXPECT_NE(cells->find("a"), nullptr);
  EXPECT_EQ(cells->find("b"), nullptr);
  ASSERT_TRUE(cells->add(cell("b", 2)).ok());
  EXPECT_EQ(*read_file(path), "{\"cell\":\"a\"}\n{\"cell\":\"b\",\"value\":2}\n");
}

TEST(Cells, files_of_another_form_are_refused_with_the_line) {
  const TempFolder folder;
  for (const std::string bad : {"[1]\n", "{\"cell\": 5}\n", "{}\n", "nonsense\n", "\n"}) {
    const auto path = folder.write("out.jsonl", "{\"cell\":\"a\"}\n" + bad);
    const auto cells = CellFile::open(path.string(), true);
    ASSERT_FALSE(cells.ok()) << bad;
    EXPECT_THAT(cells.error().message, HasSubstr("line 2")) << bad;
    EXPECT_EQ(*read_file(path), "{\"cell\":\"a\"}\n" + bad);
  }
}

TEST(Cells, without_a_file_results_stay_in_memory) {
  auto cells = CellFile::open("", false);
  ASSERT_TRUE(cells.ok());
  ASSERT_TRUE(cells->add(cell("a", 1)).ok());
  EXPECT_NE(cells->find("a"), nullptr);
}

TEST(Cells, a_file_that_cannot_be_written_is_an_error) {
  EXPECT_FALSE(CellFile::open("/no/such/folder/out.jsonl", false).ok());
}

}  // namespace
}  // namespace skvis
