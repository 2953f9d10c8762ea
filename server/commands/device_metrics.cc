// SPDX-License-Identifier: Apache-2.0
#include "server/commands/device_metrics.h"

#include <utility>

namespace hadal::commands {

void DeviceMetrics::SetMps(const MpsState& mps, const models::DeviceFacts& facts) {
  mps_enabled_.Get().Set(facts.mps ? 1 : 0);
  mps_multiprocessors_.Get().Set(static_cast<double>(facts.multiprocessors));
  mps_memory_limit_.Get().Set(static_cast<double>(mps.memory_limit_bytes));
  mps_thread_ratio_.Get().Set(mps.active_thread_ratio);
}

void DeviceMetrics::Watch(std::vector<std::shared_ptr<const models::Model>> models) {
  state_.emplace(registry_, [this, models = std::move(models)] { Export(models); });
}

void DeviceMetrics::Export(const std::vector<std::shared_ptr<const models::Model>>& models) {
  for (const std::shared_ptr<const models::Model>& model : models) {
    base::Counter& counter = refused_products_.With({model->info().name});
    const auto refused = static_cast<uint64_t>(model->device_counters().refused_products);
    if (const uint64_t counted = counter.Value(); refused > counted) counter.Increment(refused - counted);
  }
}

}  // namespace hadal::commands
