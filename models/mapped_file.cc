// SPDX-License-Identifier: Apache-2.0
#include "models/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"

namespace hadal::models {

// The address range of a mapping. Read by the signal handler, on any thread at any time: atomics only.
struct MappedFile::Guard {
  std::atomic<bool> taken{false};
  std::atomic<uintptr_t> begin{0};  // 0: not in use
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> damaged{false};

  static std::array<Guard, kMaxGuarded>& All() {
    static std::array<Guard, kMaxGuarded> guards;
    return guards;
  }

  // Null when all are taken.
  static Guard* Take(std::span<const std::byte> bytes);
  void Release() {
    begin.store(0);
    taken.store(false);
  }

  static void InstallHandler();
  static void OnBusError(int signal, siginfo_t* info, void* context);
};

namespace {

static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

struct sigaction g_previous;
uintptr_t g_page_bytes = 0;

// The largest piece of one read: some systems refuse more than 2 GiB.
constexpr size_t kReadBytes = 64 << 20;

absl::Status ReadAll(const std::string& path, int fd, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t count =
        pread(fd, out.data() + done, std::min(kReadBytes, out.size() - done), static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot be read"));
    if (count == 0) return absl::DataLossError(absl::StrCat(path, ": read ", done, " of ", out.size(), " bytes"));
    done += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

}  // namespace

void MappedFile::Guard::OnBusError(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Guard& guard : All()) {
    const uintptr_t begin = guard.begin.load();
    if (begin == 0 || address < begin || address >= guard.end.load()) continue;
    const int saved_errno = errno;
    guard.damaged.store(true);
    // Zeros in place of what is gone, to the end of the file; the access is then repeated and succeeds.
    const uintptr_t page = address - address % g_page_bytes;
    void* zeros = mmap(reinterpret_cast<void*>(page), guard.end.load() - page, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    errno = saved_errno;
    if (zeros != MAP_FAILED) return;
  }
  // Not a file of ours: the previous handler gets it, by the repeated access or, when somebody sent the signal, again.
  sigaction(signal, &g_previous, nullptr);
  if (info->si_code <= 0) raise(signal);
}

void MappedFile::Guard::InstallHandler() {
  static const bool installed = [] {
    g_page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    All();  // not for the first time in the handler
    struct sigaction action = {};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &g_previous) == 0;
  }();
  (void)installed;
}

MappedFile::Guard* MappedFile::Guard::Take(std::span<const std::byte> bytes) {
  InstallHandler();
  for (Guard& guard : All()) {
    if (guard.taken.exchange(true)) continue;
    const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
    guard.damaged.store(false);
    guard.end.store(begin + bytes.size());
    guard.begin.store(begin);
    return &guard;
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path, FileAccess access) {
  int64_t size_bytes = 0;
  auto fd = base::OpenRegularFile(path, &size_bytes);
  if (!fd.ok()) return fd.status();
  auto closer = absl::MakeCleanup([&] { close(*fd); });
  if (size_bytes == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": expected data, found an empty file"));
  const bool copy = access == FileAccess::kCopy;
  void* address =
      copy ? mmap(nullptr, static_cast<size_t>(size_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
           : mmap(nullptr, static_cast<size_t>(size_bytes), PROT_READ, MAP_SHARED, *fd, 0);
  if (address == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": ", size_bytes, " bytes cannot be mapped"));
  }
  const std::span<std::byte> bytes(static_cast<std::byte*>(address), static_cast<size_t>(size_bytes));
  std::shared_ptr<MappedFile> file(new MappedFile(path, bytes));
  if (!copy) {
    file->guard_ = Guard::Take(bytes);
  } else if (absl::Status status = ReadAll(path, *fd, bytes); !status.ok()) {
    return status;
  }
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (guard_ != nullptr) guard_->Release();
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::Prefetch() const {
  if (guard_ != nullptr) madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_WILLNEED);
}

absl::Status MappedFile::CheckIntact() const {
  if (guard_ == nullptr || !guard_->damaged.load()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path_, ": the file was cut short, or cannot be read any more, while in use"));
}

}  // namespace hadal::models
