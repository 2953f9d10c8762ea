// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "server/commands/gpu_monitor.h"

namespace hadal::commands {

// Reads a GpuMonitor once per period on its own thread, because NVML may take milliseconds and a broken driver may
// never return. Nothing waits for such a call: neither Latest nor the destructor, which leaves a blocked thread behind.
class GpuWatch {
 public:
  // Waits a moment for the first reading. `on_xid` is called on the watch's thread with the number of each critical
  // error; it must not need what is gone when a thread was left behind.
  GpuWatch(std::unique_ptr<GpuMonitor> monitor, absl::Duration period, std::function<void(uint64_t)> on_xid);
  ~GpuWatch();
  GpuWatch(const GpuWatch&) = delete;
  GpuWatch& operator=(const GpuWatch&) = delete;

  struct Snapshot {
    GpuReading reading;       // without `xids`
    uint64_t xid_errors = 0;  // critical errors since the watch began
  };
  // Any thread.
  Snapshot Latest() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace hadal::commands
