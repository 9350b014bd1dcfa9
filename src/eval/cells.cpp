// SPDX-License-Identifier: Apache-2.0
#include "eval/cells.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/file.hpp"

namespace skvis {
namespace {

constexpr size_t kMostBytes = size_t{1} << 30;

}  // namespace

Result<CellFile> CellFile::open(const std::string& path, bool resume) {
  CellFile cells;
  if (path.empty()) return cells;
  cells.path_ = path;
  std::error_code ignored;
  const bool there = std::filesystem::exists(path, ignored);
  if (there && !resume && std::filesystem::file_size(path, ignored) > 0) {
    return fail("{} holds results; give --resume to go on with them, or another name", path);
  }
  if (there && resume) SKVIS_CHECK(cells.read(path));
  cells.file_.reset(std::fopen(path.c_str(), "ab"));
  if (!cells.file_) return fail("{}: cannot be written: {}", path, std::strerror(errno));
  return cells;
}

Result<void> CellFile::read(const std::string& path) {
  SKVIS_TRY(const std::string text, read_file(path, kMostBytes));
  size_t begin = 0;
  for (size_t line = 1; begin < text.size(); ++line) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) {
      // Cut off while it was written. Nothing before it is touched.
      std::error_code problem;
      std::filesystem::resize_file(path, begin, problem);
      if (problem) return fail("{}: cannot be shortened: {}", path, problem.message());
      break;
    }
    const std::string where = fmt::format("{} line {}", path, line);
    SKVIS_TRY(Json cell, parse_json(std::string_view(text).substr(begin, end - begin), where));
    if (!cell.is_object()) return fail("{}: expected an object, found {}", where, json_type(cell));
    SKVIS_TRY(const std::string name, json_string(cell, "cell", where));
    cells_.insert_or_assign(name, std::move(cell));
    begin = end + 1;
  }
  return {};
}

const Json* CellFile::find(const std::string& name) const {
  const auto it = cells_.find(name);
  return it == cells_.end() ? nullptr : &it->second;
}

Result<void> CellFile::add(Json cell) {
  if (file_) {
    const std::string line = dump_json(cell) + "\n";
    if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
        std::fflush(file_.get()) != 0) {
      return fail("{}: cannot be written: {}", path_, std::strerror(errno));
    }
  }
  std::string name = cell["cell"].get<std::string>();
  cells_.insert_or_assign(std::move(name), std::move(cell));
  return {};
}

}  // namespace skvis
