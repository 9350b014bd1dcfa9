// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace skvis {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Reading a pipe or a device could wait for ever, so opening one must not: it is refused below.
int open_to_read(const std::filesystem::path& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

// The size of an open regular file.
Result<size_t> file_size(int fd, const std::filesystem::path& path) {
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    return fail("{}: {}", path.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) return fail("{}: not a regular file", path.string());
  return static_cast<size_t>(status.st_size);
}

}  // namespace

Result<std::string> read_file(const std::filesystem::path& path, size_t max_bytes) {
  const Descriptor file(open_to_read(path));
  SKVIS_TRY(const size_t size, file_size(file.get(), path));
  if (size > max_bytes) {
    return fail("{}: {} bytes, more than the {} allowed here", path.string(), size, max_bytes);
  }
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail("{}: read failed: {}", path.string(), std::strerror(errno));
    if (got == 0) return fail("{}: ended at {} of {} bytes", path.string(), done, size);
    done += static_cast<size_t>(got);
  }
  return content;
}

Result<void> write_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = path.string() + fmt::format(".tmp{}", ::getpid());
  const auto give_up = [&](std::string_view step) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    return fail("{}: {} failed: {}", path.string(), step, std::strerror(reason));
  };
  {
    const Descriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) return give_up("create");
    size_t done = 0;
    while (done < content.size()) {
      const ssize_t put = ::write(file.get(), content.data() + done, content.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return give_up("write");
      done += static_cast<size_t>(put);
    }
    if (::fsync(file.get()) != 0) return give_up("sync");
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up("rename");
  return {};
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor file(open_to_read(path));
  MappedFile mapped;
  SKVIS_TRY(mapped.size_, file_size(file.get(), path));
  mapped.path_ = path;
  if (mapped.size_ == 0) return mapped;
  void* memory = ::mmap(nullptr, mapped.size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (memory == MAP_FAILED) return fail("{}: mmap failed: {}", path.string(), std::strerror(errno));
  mapped.data_ = static_cast<const std::byte*>(memory);
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::drop_resident(size_t offset, size_t length) const {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + std::min(length, size_ - std::min(offset, size_))) / page * page;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace skvis
