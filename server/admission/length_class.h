// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "server/base/metrics.h"
#include "server/request/request.h"

namespace hadal::admission {

// Prompts by length, for metrics with the label `length_class`: up to 256 tokens, 1k, 4k, 16k, or more. Thread-safe.
std::string_view LengthClassName(int64_t prompt_tokens);

// MetricSpec::series of a metric with the labels `class` and `length_class`, and the index in it of such a request.
std::vector<base::LabelValues> ClassAndLengthSeries();
size_t ClassAndLengthIndex(request::Priority priority, int64_t prompt_tokens);

}  // namespace hadal::admission
