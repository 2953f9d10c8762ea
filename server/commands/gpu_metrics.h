// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "server/base/metrics.h"
#include "server/commands/gpu_monitor.h"
#include "server/commands/gpu_watch.h"

namespace hadal::commands {

// The metrics of a whole GPU, other users included; its critical errors are also logged. They only exist if the driver
// provides them, so not on a machine without a GPU. Thread-safe; `registry` outlives it.
class GpuMetrics {
 public:
  // `gpu` is its place on the PCI bus, as in the kernel's log, and the label of all series.
  GpuMetrics(std::string gpu, std::unique_ptr<GpuMonitor> monitor, base::MetricRegistry* registry);

  // Of the device that models run on. Null, and a line in the log, when NVML does not know it; null when it is no GPU,
  // whose place is empty.
  static std::unique_ptr<GpuMetrics> Create(const std::string& pci_bus_id, base::MetricRegistry* registry);

 private:
  void Export();

  const std::string gpu_;
  base::Family<base::Gauge> utilization_;
  base::Family<base::Gauge> memory_used_;
  base::Family<base::Gauge> memory_total_;
  base::Family<base::Gauge> processes_;
  base::Family<base::Gauge> mps_clients_;
  base::Family<base::Gauge> sm_clock_;
  base::Family<base::Gauge> multiprocessors_;
  base::Family<base::Counter> xid_errors_;
  const GpuWatch watch_;
  const base::MetricCollector collector_;
};

}  // namespace hadal::commands
