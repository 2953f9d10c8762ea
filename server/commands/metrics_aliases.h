// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "server/base/metrics.h"

namespace hadal::commands {

// Also exposes vLLM's metrics under their names and with the labels `model_name` (`model`, for all series) and
// `engine` ("0"), so that dashboards and routers made for vLLM read this server. Once, before the first scrape.
void AddVllmAliases(const std::string& model, base::MetricRegistry* registry);

}  // namespace hadal::commands
