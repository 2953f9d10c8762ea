// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace hadal::checkpoint {

enum class LoadStage {
  kOpen,      // config and headers
  kValidate,  // names, shapes and types against the family's list
  kLoad,      // weights into memory that the backend computes with
};

// Bytes count tensor data as stored in the files (dummy weights: 2 a value); bytes_total is 0 while unknown.
struct LoadProgress {
  LoadStage stage = LoadStage::kOpen;
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;
};

// Called from the loading threads, never two at once; must return quickly.
using LoadProgressCallback = std::function<void(LoadProgress)>;

// "open", "validate", "load".
const char* LoadStageName(LoadStage stage);

}  // namespace hadal::checkpoint
