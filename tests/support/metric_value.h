// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "server/base/metrics.h"

namespace hadal::testing {

// What a scrape says of one series, such as `hadal_kv_blocks{state="free"}`. Fails when it is not there.
inline double MetricValue(base::MetricRegistry& metrics, std::string_view series) {
  const std::string text = "\n" + metrics.Expose();
  const std::string wanted = "\n" + std::string(series) + " ";
  const size_t at = text.find(wanted);
  if (at == std::string::npos) {
    ADD_FAILURE() << "no series " << series;
    return -1;
  }
  return std::atof(text.c_str() + at + wanted.size());
}

}  // namespace hadal::testing
