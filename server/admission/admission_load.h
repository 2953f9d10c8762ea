// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "server/request/request.h"

namespace hadal::admission {

// What waits and what is leased at one moment, over all models; for metrics and GetLoad.
struct AdmissionLoad {
  int64_t waiting = 0;
  int64_t waiting_limit = 0;
  int64_t waiting_tokens = 0;
  std::array<int64_t, request::kNumPriorities> waiting_by_class = {};
  std::array<int64_t, request::kNumPriorities> tokens_by_class = {};
  int64_t memory_leased_bytes = 0;  // of the KV pools of all models
  double departures_per_second = 0;
  // Of a request like the last ones that arrives now, at most the forecast's horizon; 0 while nothing has run.
  std::array<double, request::kNumPriorities> predicted_wait_by_class = {};
  double predicted_wait_seconds = 0;  // of class normal
  bool draining = false;
  bool ready = false;
};

}  // namespace hadal::admission
