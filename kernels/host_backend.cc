// SPDX-License-Identifier: Apache-2.0
#include "kernels/host_backend.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePageBytes = int64_t{2} << 20;

int64_t PhysicalMemoryBytes() {
  const int64_t pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? pages * page_bytes : ByteBudget::kNoLimit;
}

// What most often makes the system refuse memory, as the end of an error.
std::string AddressLimit() {
  rlimit limits{};
  if (::getrlimit(RLIMIT_AS, &limits) != 0 || limits.rlim_cur == RLIM_INFINITY) return "";
  return absl::StrCat(": ulimit -v is ", limits.rlim_cur / 1024, " KiB");
}

}  // namespace

HostBackend::HostBackend(int64_t budget_bytes) : budget_(budget_bytes > 0 ? budget_bytes : PhysicalMemoryBytes()) {}

absl::StatusOr<Buffer> HostBackend::Allocate(int64_t bytes) {
  if (absl::Status s = budget_.Take(bytes); !s.ok()) return s;
  if (bytes == 0) return Buffer();
  // Large buffers start on a huge page: streaming through them then costs few TLB misses.
  const int64_t alignment = bytes >= 2 * kHugePageBytes ? kHugePageBytes : kAlignment;
  void* data = nullptr;
  if (posix_memalign(&data, alignment, static_cast<size_t>(bytes)) != 0) {
    budget_.Return(bytes);
    return absl::ResourceExhaustedError(absl::StrCat("allocate: the system refused ", bytes, " bytes", AddressLimit()));
  }
  if (alignment == kHugePageBytes) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a hint: may fail
  return Buffer(this, data, bytes);
}

void HostBackend::Free(void* data, int64_t bytes) {
  free(data);
  budget_.Return(bytes);
}

absl::StatusOr<DeviceMemory> HostBackend::Memory() {
  if (budget_.limit_bytes() == ByteBudget::kNoLimit) {
    return absl::InternalError("memory: the system does not report its size; set a memory budget");
  }
  return DeviceMemory{budget_.limit_bytes(), budget_.used_bytes()};
}

absl::Status HostBackend::Upload(void* device_target, const void* source, int64_t bytes) {
  return Copy(device_target, source, bytes);
}

absl::Status HostBackend::Download(void* target, const void* device_source, int64_t bytes) {
  return Copy(target, device_source, bytes);
}

absl::Status HostBackend::Copy(void* device_target, const void* device_source, int64_t bytes) {
  if (absl::Status s = CheckByteCount("copy", bytes); !s.ok()) return s;
  if (bytes > 0) std::memmove(device_target, device_source, static_cast<size_t>(bytes));
  return absl::OkStatus();
}

absl::Status HostBackend::Zero(void* device_target, int64_t bytes) {
  if (absl::Status s = CheckByteCount("zero", bytes); !s.ok()) return s;
  if (bytes > 0) std::memset(device_target, 0, static_cast<size_t>(bytes));
  return absl::OkStatus();
}

}  // namespace hadal::kernels
