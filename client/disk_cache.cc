// SPDX-License-Identifier: Apache-2.0
#include "client/disk_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "client/digest.h"

namespace hadal::client {
namespace {

namespace fs = std::filesystem;

// A file: this, when it expires in milliseconds since 1970, a digest of key, time and value, the value.
constexpr std::string_view kMagic = "hadal answer 2\n";
constexpr size_t kTimeBytes = sizeof(int64_t);
constexpr size_t kDigestBytes = 64;
constexpr size_t kHeadBytes = kMagic.size() + kTimeBytes + kDigestBytes;
constexpr int64_t kMaxFileBytes = int64_t{64} << 20;

// What a writer that was killed has left.
constexpr char kUnfinished[] = ".unfinished";
constexpr auto kUnfinishedAge = std::chrono::hours(1);

std::string Encode(const std::string& key, const std::string& value, absl::Time expires) {
  const int64_t ms = absl::ToUnixMillis(expires);
  const std::string time(reinterpret_cast<const char*>(&ms), kTimeBytes);
  std::string file(kMagic);
  file += time;
  file += Digest({key, time, value});
  file += value;
  return file;
}

std::optional<DiskCache::Entry> Decode(const std::string& key, std::string_view file, absl::Time now) {
  if (file.size() < kHeadBytes || !file.starts_with(kMagic)) return std::nullopt;
  const std::string_view time = file.substr(kMagic.size(), kTimeBytes);
  const std::string_view value = file.substr(kHeadBytes);
  if (file.substr(kMagic.size() + kTimeBytes, kDigestBytes) != Digest({key, time, value})) return std::nullopt;
  int64_t ms = 0;
  std::memcpy(&ms, time.data(), kTimeBytes);
  if (absl::FromUnixMillis(ms) <= now) return std::nullopt;
  return DiskCache::Entry{std::string(value), absl::FromUnixMillis(ms)};
}

bool WriteWhole(const std::string& path, std::string_view bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return false;
  bool written = true;
  while (written && !bytes.empty()) {
    const ssize_t done = write(file, bytes.data(), bytes.size());
    if (done >= 0) bytes.remove_prefix(done);
    written = done >= 0 || errno == EINTR;
  }
  return (close(file) == 0) && written;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DiskCache>> DiskCache::Open(const std::string& folder, int64_t max_bytes) {
  if (max_bytes <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("cache.disk_bytes is ", max_bytes, "; it must be above 0"));
  }
  std::error_code error;
  const bool made = fs::create_directories(folder, error);
  if (made) fs::permissions(folder, fs::perms::owner_all, error);
  if (error || access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the cache folder ", folder, " cannot be used: ", error ? error.message() : std::strerror(errno)));
  }
  auto cache = std::unique_ptr<DiskCache>(new DiskCache(folder, max_bytes));
  cache->Trim();
  return cache;
}

std::string DiskCache::PathOf(const std::string& key) const { return absl::StrCat(folder_, "/", key); }

std::optional<DiskCache::Entry> DiskCache::Find(const std::string& key, absl::Time now) {
  const absl::StatusOr<std::string> file = base::ReadFile(PathOf(key), kMaxFileBytes);
  if (!file.ok()) return std::nullopt;
  std::optional<Entry> entry = Decode(key, *file, now);
  if (!entry.has_value()) unlink(PathOf(key).c_str());  // old, or broken
  return entry;
}

void DiskCache::Add(const std::string& key, const std::string& value, absl::Time expires) {
  static std::atomic<uint64_t> number{0};
  const std::string file = Encode(key, value, expires);
  if (static_cast<int64_t>(file.size()) > std::min(max_bytes_, kMaxFileBytes)) return;
  const std::string unfinished = absl::StrCat(PathOf(key), ".", getpid(), ".", ++number, kUnfinished);
  if (!WriteWhole(unfinished, file) || rename(unfinished.c_str(), PathOf(key).c_str()) != 0) {
    unlink(unfinished.c_str());
    return;
  }
  bool full = false;
  {
    base::MutexLock lock(&mutex_);
    bytes_ += static_cast<int64_t>(file.size());
    full = bytes_ > max_bytes_;
  }
  if (full) Trim();
}

void DiskCache::Trim() {
  struct File {
    fs::file_time_type at;
    int64_t bytes;
    fs::path path;
  };
  std::vector<File> files;
  int64_t bytes = 0;
  std::error_code error;
  const auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;  // another process may trim as well
    const auto at = it->last_write_time(gone);
    const auto size = it->file_size(gone);
    const std::string name = it->path().filename().string();
    if (gone) continue;
    if (name.ends_with(kUnfinished)) {
      if (now - at > kUnfinishedAge) fs::remove(it->path(), gone);
    } else if (name.size() == kDigestBytes && name.find_first_not_of("0123456789abcdef") == std::string::npos) {
      files.push_back({at, static_cast<int64_t>(size), it->path()});
      bytes += static_cast<int64_t>(size);
    }
  }
  if (bytes > max_bytes_) {
    std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.at < b.at; });
    for (size_t i = 0; i < files.size() && bytes > max_bytes_ - max_bytes_ / 10; ++i) {
      std::error_code gone;
      fs::remove(files[i].path, gone);
      bytes -= files[i].bytes;
    }
  }
  base::MutexLock lock(&mutex_);
  bytes_ = bytes;
}

}  // namespace hadal::client
