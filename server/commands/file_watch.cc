// SPDX-License-Identifier: Apache-2.0
#include "server/commands/file_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace hadal::commands {

absl::StatusOr<std::unique_ptr<FileWatch>> FileWatch::Create(const std::string& path) {
  const std::string folder = std::filesystem::absolute(path).parent_path();
  const int fd = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, "inotify_init1");
  if (::inotify_add_watch(fd, folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) < 0) {
    const absl::Status status = absl::ErrnoToStatus(errno, absl::StrCat("cannot watch the folder ", folder));
    ::close(fd);
    return status;
  }
  return std::unique_ptr<FileWatch>(new FileWatch(path, fd));
}

FileWatch::FileWatch(std::string path, int inotify_fd)
    : path_(std::move(path)), inotify_fd_(inotify_fd), seen_(Look()) {}

FileWatch::~FileWatch() { ::close(inotify_fd_); }

bool FileWatch::TakeChange() {
  alignas(inotify_event) char events[4096];
  bool any = false;
  while (true) {
    const ssize_t size = ::read(inotify_fd_, events, sizeof(events));
    if (size <= 0) break;
    for (ssize_t at = 0; at < size;) {
      const auto* const event = reinterpret_cast<const inotify_event*>(events + at);
      any = any || (event->mask & IN_CREATE) == 0 || IsLink();
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
  if (!any) return false;
  const Stamp now = Look();
  return now.size >= 0 && now != std::exchange(seen_, now);
}

bool FileWatch::IsLink() const {
  struct stat info = {};
  return ::lstat(path_.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

FileWatch::Stamp FileWatch::Look() const {
  struct stat info = {};
  if (::stat(path_.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino, info.st_size, int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
}

}  // namespace hadal::commands
