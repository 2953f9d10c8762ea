// SPDX-License-Identifier: Apache-2.0
//
// What the driver says of a GPU as a whole, other users included: by NVML, which is opened at run time. Where the
// library is not there, as on a machine without a GPU, there is nothing to monitor, and that is no error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::commands {

// What the driver does not offer, as parts of it for a MIG slice, is left out.
struct GpuReading {
  std::optional<double> utilization_ratio;  // share of the last sampling period in which a kernel ran
  std::optional<int64_t> memory_used_bytes, memory_total_bytes;  // by all processes; of the GPU
  std::optional<int64_t> processes;  // with a compute context; MPS clients are not among them
  std::optional<int64_t> mps_clients;
  std::optional<int64_t> sm_clock_hertz;
  std::optional<int64_t> multiprocessors;  // of the GPU, whatever share of them MPS gives
  std::vector<uint64_t> xids;              // numbers of the critical errors since the last reading
};

// Thread-compatible.
class GpuMonitor {
 public:
  static constexpr char kLibrary[] = "libnvidia-ml.so.1";

  virtual ~GpuMonitor() = default;

  // The GPU at this place of the PCI bus, as "0000:65:00.0". NotFound without the library; Unavailable, with NVML's
  // error, when it does not start or does not know the GPU.
  static absl::StatusOr<std::unique_ptr<GpuMonitor>> Open(const std::string& pci_bus_id,
                                                          const std::string& library = kLibrary);

  // May hang with the driver, as for a GPU that fell off the bus.
  virtual GpuReading Read() = 0;
};

}  // namespace hadal::commands
