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
  double predicted_wait_seconds = 0;  // of an arrival now; 0 while no departure was seen
  bool draining = false;
  bool ready = false;
};

}  // namespace hadal::admission
