// SPDX-License-Identifier: Apache-2.0
#include "server/commands/server_metrics.h"

#include <utility>

#include "server/base/log.h"

namespace hadal::commands {

namespace {

// Brings a counter up to a total that is counted elsewhere.
void CountTo(uint64_t total, base::Counter* counter) {
  const uint64_t counted = counter->Value();
  if (total > counted) counter->Increment(total - counted);
}

}  // namespace

void ServerMetrics::Watch(std::function<service::Load()> load, std::function<uint64_t()> access_lines_dropped) {
  state_.emplace(registry, [this, load = std::move(load), dropped = std::move(access_lines_dropped)] {
    Export(load(), dropped());
  });
}

void ServerMetrics::Export(const service::Load& load, uint64_t access_lines_dropped) {
  ready_.Get().Set(load.ready ? 1 : 0);
  draining_.Get().Set(load.draining ? 1 : 0);
  CountTo(base::LogLinesDropped(), &log_dropped_.Get());
  CountTo(access_lines_dropped, &access_log_dropped_.Get());
}

}  // namespace hadal::commands
