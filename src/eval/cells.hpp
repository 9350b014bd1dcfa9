// SPDX-License-Identifier: Apache-2.0
// Results as they come, one JSON object a line, so that a run that was cut off goes on where it
// stopped. Every line has a member "cell" that says what was measured: settings, plan and number.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/json.hpp"
#include "base/result.hpp"

namespace skvis {

class CellFile {
 public:
  // Without a path, cells are kept in memory only. `resume`: cells of an existing file count as
  // measured; a last line that was cut off is removed. Without it a file that has content is
  // refused. Fails where a line is no object with a "cell", naming the line.
  static Result<CellFile> open(const std::string& path, bool resume);

  // The cell of that name, or null.
  const Json* find(const std::string& name) const;
  // Appends the line at once. `cell` has a member "cell" that is new.
  Result<void> add(Json cell);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  Result<void> read(const std::string& path);

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::unordered_map<std::string, Json> cells_;
};

}  // namespace skvis
