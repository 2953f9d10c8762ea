// SPDX-License-Identifier: Apache-2.0
#include "models/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace hadal::models {
namespace {

// Opens a regular file and reads its size. The caller closes the descriptor.
absl::StatusOr<int> OpenRegular(const std::string& path, int64_t& size_bytes) {
  // Not blocking, so that a FIFO in place of a file is refused instead of waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be opened"));
  struct stat info;
  absl::Status status;
  if (fstat(fd, &info) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be examined"));
  } else if (S_ISDIR(info.st_mode)) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": expected a file, found a directory"));
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": expected a regular file, found something else"));
  }
  if (!status.ok()) {
    close(fd);
    return status;
  }
  size_bytes = info.st_size;
  return fd;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  int64_t size_bytes = 0;
  auto fd = OpenRegular(path, size_bytes);
  if (!fd.ok()) return fd.status();
  auto closer = absl::MakeCleanup([&] { close(*fd); });
  if (size_bytes == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": expected data, found an empty file"));
  void* address = mmap(nullptr, static_cast<size_t>(size_bytes), PROT_READ, MAP_SHARED, *fd, 0);
  if (address == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": ", size_bytes, " bytes cannot be mapped"));
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, {static_cast<const std::byte*>(address), static_cast<size_t>(size_bytes)}));
}

MappedFile::~MappedFile() { munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

void MappedFile::Prefetch() const { madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_WILLNEED); }

absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t limit_bytes) {
  int64_t size_bytes = 0;
  auto fd = OpenRegular(path, size_bytes);
  if (!fd.ok()) return fd.status();
  auto closer = absl::MakeCleanup([&] { close(*fd); });
  if (size_bytes > limit_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected at most ", limit_bytes, " bytes, found ", size_bytes));
  }
  std::string text(static_cast<size_t>(size_bytes), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = read(*fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be read"));
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  text.resize(done);
  return text;
}

}  // namespace hadal::models
