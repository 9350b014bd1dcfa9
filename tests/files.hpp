// SPDX-License-Identifier: Apache-2.0
// The files that tests use: folders of their own, data of the tree, and the default model.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace skvis {

// A folder for one test's files, gone afterwards. Tests run side by side, so no two share one.
class TempFolder {
 public:
  TempFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string("skvis-") + test->test_suite_name() + "-" + test->name() + "-" +
                       std::to_string(::getpid());
    std::replace(name.begin(), name.end(), '/', '-');
    path_ = std::filesystem::temp_directory_path() / name;
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    const std::filesystem::path file = path_ / name;
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }

 private:
  std::filesystem::path path_;
};

inline std::filesystem::path source_path(const std::string& relative) {
  return std::filesystem::path(SKVIS_SOURCE_DIR) / relative;
}

inline std::filesystem::path golden(const std::string& name) {
  return source_path("tests/data/golden") / name;
}

// Data that may not be copied into this tree lies beside it.
inline std::filesystem::path shared_path(const std::string& relative) {
  const char* shared = std::getenv("SKVIS_SHARED");
  return (shared != nullptr ? std::filesystem::path(shared) : source_path("../shared")) / relative;
}

// The default model where `make model` leaves it.
inline std::filesystem::path default_model_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value != nullptr ? value : "");
  };
  std::filesystem::path cache = variable("SKVIS_CACHE");
  if (cache.empty() && !variable("XDG_CACHE_HOME").empty()) {
    cache = variable("XDG_CACHE_HOME") / "skvis";
  }
  if (cache.empty()) cache = variable("HOME") / ".cache/skvis";
  return cache / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

// Skips the test loudly where the default model was not fetched; a failure under CI=true.
#define SKVIS_NEED_DEFAULT_MODEL()                                                        \
  do {                                                                                    \
    const std::filesystem::path model_needed = skvis::default_model_path();               \
    if (!std::filesystem::exists(model_needed)) {                                         \
      const char* ci = std::getenv("CI");                                                 \
      if (ci != nullptr && std::string_view(ci) == "true") {                              \
        FAIL() << "no " << model_needed << ", and CI=true; run `make model`";             \
      }                                                                                   \
      GTEST_SKIP() << "SKIPPED, NOT TESTED: no " << model_needed << "; run `make model`"; \
    }                                                                                     \
  } while (0)

}  // namespace skvis
