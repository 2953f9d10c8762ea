// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace hadal::commands {

// Detects that a file has been replaced or rewritten, with inotify on its folder. This includes renames onto it, the
// swapped symbolic link of a Kubernetes volume, and a recreated link as made by certbot. A half-written file is not
// reported, only the writer's close. Not detected: rewriting the target of a symbolic link in place. Not thread-safe.
class FileWatch {
 public:
  // An error of the kernel, or of a folder that cannot be watched, names the folder.
  static absl::StatusOr<std::unique_ptr<FileWatch>> Create(const std::string& path);
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // Readable when something in the folder has changed: to be waited for.
  int descriptor() const { return inotify_fd_; }
  // True when the file is another one, or has other content, than at the last call; never waits.
  bool TakeChange();

 private:
  // What tells one content from the next without reading it.
  struct Stamp {
    uint64_t device = 0, inode = 0;
    int64_t size = -1, modified_ns = 0;
    bool operator==(const Stamp&) const = default;
  };

  FileWatch(std::string path, int inotify_fd);
  // The path is a symbolic link: making one is a change, while a file that is made is not complete yet.
  bool IsLink() const;
  Stamp Look() const;

  const std::string path_;
  const int inotify_fd_;
  Stamp seen_;
};

}  // namespace hadal::commands
