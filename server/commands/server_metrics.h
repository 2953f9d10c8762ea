// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "server/base/metrics.h"
#include "server/service/generate_service.h"

namespace hadal::commands {

// The metrics of the process: what it is, whether it is ready, and its log. Thread-safe; `registry` outlives it.
class ServerMetrics {
 public:
  explicit ServerMetrics(base::MetricRegistry* registry) : registry(registry) {}

  // From now on scrapes read the state from `load` and `access_lines_dropped`, which are cheap and outlive this. Once,
  // before the first scrape.
  void Watch(std::function<service::Load()> load, std::function<uint64_t()> access_lines_dropped);

  base::MetricRegistry* const registry;

  base::Family<base::Gauge> build_info{
      registry, {.name = "hadal_build_info", .help = "Constant 1; what was built.", .labels = {"version", "compiler"}}};
  base::Family<base::Gauge> model_info{registry,
                                       {.name = "hadal_model_info",
                                        .help = "Constant 1; what is served.",
                                        .labels = {"model", "family", "dtype", "device"}}};

 private:
  void Export(const service::Load& load, uint64_t access_lines_dropped);

  base::Family<base::Gauge> ready_{registry, {"hadal_ready", "1 when the server takes requests."}};
  base::Family<base::Gauge> draining_{registry,
                                      {"hadal_draining", "1 while the server finishes and takes nothing new."}};
  base::Family<base::Counter> log_dropped_{registry,
                                           {"hadal_log_dropped_total", "Log lines dropped because the sink was slow."}};
  base::Family<base::Counter> access_log_dropped_{
      registry,
      {"hadal_access_log_dropped_total", "Lines of the access log dropped because its file or pipe was slow or full."}};
  std::optional<base::MetricCollector> state_;
};

}  // namespace hadal::commands
