// SPDX-License-Identifier: Apache-2.0
#include "server/commands/server_metrics.h"

#include <utility>

#include "server/base/log.h"

namespace hadal::commands {

void ServerMetrics::Watch(std::function<service::Load()> load) {
  state_.emplace(registry, [this, load = std::move(load)] { Export(load()); });
}

void ServerMetrics::Export(const service::Load& load) {
  ready_.Get().Set(load.ready ? 1 : 0);
  draining_.Get().Set(load.draining ? 1 : 0);
  const uint64_t dropped = base::LogLinesDropped();
  const uint64_t counted = log_dropped_.Get().Value();
  if (dropped > counted) log_dropped_.Get().Increment(dropped - counted);
}

}  // namespace hadal::commands
