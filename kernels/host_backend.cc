// SPDX-License-Identifier: Apache-2.0
#include "kernels/host_backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePageBytes = int64_t{2} << 20;

int64_t PhysicalMemoryBytes() {
  const int64_t pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? pages * page_bytes : 0;
}

}  // namespace

absl::StatusOr<Buffer> HostBackend::Allocate(int64_t bytes) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("allocate: expected bytes >= 0, found ", bytes));
  if (bytes == 0) return Buffer();
  const int64_t limit = budget_bytes_ > 0 ? budget_bytes_ : PhysicalMemoryBytes();
  int64_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (limit > 0 && bytes > limit - used) {
      return absl::ResourceExhaustedError(
          absl::StrCat("allocate: ", bytes, " bytes asked for, ", limit - used, " of ", limit, " left"));
    }
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  // Large buffers start on a huge page: streaming through them then costs few TLB misses.
  const int64_t alignment = bytes >= 2 * kHugePageBytes ? kHugePageBytes : kAlignment;
  void* data = nullptr;
  if (posix_memalign(&data, alignment, static_cast<size_t>(bytes)) != 0) {
    used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return absl::ResourceExhaustedError(absl::StrCat("allocate: the system refused ", bytes, " bytes"));
  }
  if (alignment == kHugePageBytes) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a hint: may fail
  return Buffer(this, data, bytes);
}

void HostBackend::Free(void* data, int64_t bytes) {
  free(data);
  used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

absl::StatusOr<DeviceMemory> HostBackend::Memory() {
  const int64_t total = budget_bytes_ > 0 ? budget_bytes_ : PhysicalMemoryBytes();
  if (total <= 0) return absl::InternalError("memory: the system does not report its size; set a memory budget");
  return DeviceMemory{total, used_bytes_.load(std::memory_order_relaxed)};
}

absl::Status HostBackend::Upload(void* device_target, const void* source, int64_t bytes) {
  return Copy(device_target, source, bytes);
}

absl::Status HostBackend::Download(void* target, const void* device_source, int64_t bytes) {
  return Copy(target, device_source, bytes);
}

absl::Status HostBackend::Copy(void* device_target, const void* device_source, int64_t bytes) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("copy: expected bytes >= 0, found ", bytes));
  if (bytes > 0) std::memmove(device_target, device_source, static_cast<size_t>(bytes));
  return absl::OkStatus();
}

absl::Status HostBackend::Zero(void* device_target, int64_t bytes) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("zero: expected bytes >= 0, found ", bytes));
  if (bytes > 0) std::memset(device_target, 0, static_cast<size_t>(bytes));
  return absl::OkStatus();
}

}  // namespace hadal::kernels
