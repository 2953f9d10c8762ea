// SPDX-License-Identifier: Apache-2.0
#include "server/commands/gpu_metrics.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"

namespace hadal::commands {
namespace {

constexpr absl::Duration kPeriod = absl::Seconds(1);

base::MetricSpec Spec(std::string name, std::string help) {
  return {.name = std::move(name), .help = std::move(help), .labels = {"gpu"}};
}

}  // namespace

GpuMetrics::GpuMetrics(std::string gpu, std::unique_ptr<GpuMonitor> monitor, base::MetricRegistry* registry)
    : gpu_(std::move(gpu)),
      utilization_(registry, Spec("hadal_gpu_utilization_ratio",
                                  "Share of the last sampling period in which the GPU ran anything, of anybody.")),
      memory_used_(registry, Spec("hadal_gpu_memory_used_bytes", "Memory of the GPU that all processes use.")),
      memory_total_(registry, Spec("hadal_gpu_memory_total_bytes", "Memory of the GPU.")),
      processes_(registry, Spec("hadal_gpu_processes", "Processes that compute on the GPU, clients of MPS apart.")),
      mps_clients_(registry, Spec("hadal_gpu_mps_clients", "Processes that use the GPU as clients of MPS.")),
      sm_clock_(registry, Spec("hadal_gpu_sm_clock_hertz", "Clock of the GPU's multiprocessors.")),
      multiprocessors_(registry, Spec("hadal_gpu_sms", "Multiprocessors of the GPU, whatever share MPS gives.")),
      xid_errors_(registry, Spec("hadal_gpu_xid_errors_total", "Critical errors (XID) of the GPU.")),
      watch_(std::move(monitor), kPeriod,
             [gpu = gpu_](uint64_t xid) {
               base::Log(base::LogLevel::kError, "main", absl::StrCat("GPU ", gpu, ": XID ", xid));
             }),
      collector_(registry, [this] { Export(); }) {}

std::unique_ptr<GpuMetrics> GpuMetrics::Create(const std::string& pci_bus_id, base::MetricRegistry* registry) {
  if (pci_bus_id.empty()) return nullptr;
  absl::StatusOr<std::unique_ptr<GpuMonitor>> monitor = GpuMonitor::Open(pci_bus_id);
  if (monitor.ok()) return std::make_unique<GpuMetrics>(pci_bus_id, *std::move(monitor), registry);
  base::Log(base::LogLevel::kInfo, "main",
            absl::StrCat("no metrics of the GPU as a whole: ", monitor.status().message()));
  return nullptr;
}

void GpuMetrics::Export() {
  const GpuWatch::Snapshot now = watch_.Latest();
  const auto set = [this](base::Family<base::Gauge>& gauge, const auto& value) {
    if (value.has_value()) gauge.With({gpu_}).Set(static_cast<double>(*value));
  };
  set(utilization_, now.reading.utilization_ratio);
  set(memory_used_, now.reading.memory_used_bytes);
  set(memory_total_, now.reading.memory_total_bytes);
  set(processes_, now.reading.processes);
  set(mps_clients_, now.reading.mps_clients);
  set(sm_clock_, now.reading.sm_clock_hertz);
  set(multiprocessors_, now.reading.multiprocessors);
  base::Counter& errors = xid_errors_.With({gpu_});
  errors.Increment(now.xid_errors - errors.Value());
}

}  // namespace hadal::commands
