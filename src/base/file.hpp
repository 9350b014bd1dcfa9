// SPDX-License-Identifier: Apache-2.0
// Files: read whole, map read-only, replace whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace skvis {

// The whole file as text or bytes; refused above `max_bytes`, with both figures.
Result<std::string> read_file(const std::filesystem::path& path,
                              size_t max_bytes = size_t{1} << 30);

// Writes to a temporary name beside `path` and renames: a reader sees the old file or the new one.
Result<void> write_file(const std::filesystem::path& path, std::string_view content);

// A file mapped read-only for as long as the object lives. Moves, does not copy.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  // The pages are not needed any more and may leave memory; later reads still work.
  void drop_resident(size_t offset, size_t length) const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace skvis
