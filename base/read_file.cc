// SPDX-License-Identifier: Apache-2.0
#include "base/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace hadal::base {
namespace {

const char* KindName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a directory";
    case S_IFIFO:
      return "a FIFO";
    case S_IFCHR:
    case S_IFBLK:
      return "a device";
    case S_IFSOCK:
      return "a socket";
    default:
      return "something else";
  }
}

}  // namespace

absl::StatusOr<int> OpenRegularFile(const std::string& path, int64_t* size_bytes) {
  // Not blocking, so that a FIFO without a writer is refused instead of waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be opened"));
  struct stat info;
  absl::Status status;
  if (fstat(fd, &info) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be examined"));
  } else if (!S_ISREG(info.st_mode)) {
    status =
        absl::InvalidArgumentError(absl::StrCat(path, ": expected a regular file, found ", KindName(info.st_mode)));
  }
  if (!status.ok()) {
    close(fd);
    return status;
  }
  *size_bytes = info.st_size;
  return fd;
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t limit_bytes) {
  int64_t size_bytes = 0;
  const absl::StatusOr<int> fd = OpenRegularFile(path, &size_bytes);
  if (!fd.ok()) return fd.status();
  const auto closer = absl::MakeCleanup([&] { close(*fd); });
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

}  // namespace hadal::base
