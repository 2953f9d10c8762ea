// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/model.h"
#include "server/base/metrics.h"
#include "server/commands/mps.h"

namespace hadal::commands {

// The metrics of the devices that the models run on. Thread-safe; `registry` outlives it.
class DeviceMetrics {
 public:
  explicit DeviceMetrics(base::MetricRegistry* registry) : registry_(registry) {}

  // What MPS gives this process; `facts` are those of the device. Once.
  void SetMps(const MpsState& mps, const models::DeviceFacts& facts);
  // Whether the GPU's MPS server is in fault, as far as this process meets it: it takes no client before those that a
  // fault has hit have ended, or this process is one of those. Any thread.
  void SetMpsFault(bool fault) { mps_fault_.Get().Set(fault ? 1 : 0); }
  // From now on scrapes read what the models' devices have counted. Once, when all are loaded; keeps the models.
  void Watch(std::vector<std::shared_ptr<const models::Model>> models);

 private:
  void Export(const std::vector<std::shared_ptr<const models::Model>>& models);

  base::MetricRegistry* const registry_;
  base::Family<base::Counter> refused_products_{
      registry_,
      {.name = "hadal_refused_products_total",
       .help = "Matrix products that the GPU's library refused and a slower kernel computed.",
       .labels = {"model"}}};
  base::Family<base::Gauge> mps_enabled_{
      registry_, {"hadal_mps_enabled", "1 when the device runs under NVIDIA's Multi-Process Service."}};
  base::Family<base::Gauge> mps_multiprocessors_{
      registry_, {"hadal_mps_sms", "Multiprocessors of the GPU that this process may use; 0 on a processor."}};
  base::Family<base::Gauge> mps_memory_limit_{
      registry_, {"hadal_mps_memory_limit_bytes", "Device memory that MPS lets this process take; 0: no limit."}};
  base::Family<base::Gauge> mps_thread_ratio_{
      registry_,
      {"hadal_mps_active_thread_ratio", "Ceiling that MPS sets on this process's share of the multiprocessors."}};
  base::Family<base::Gauge> mps_fault_{
      registry_, {"hadal_mps_fault", "1 while the GPU's MPS server is in fault, by this process or by a neighbour."}};
  std::optional<base::MetricCollector> state_;
};

}  // namespace hadal::commands
