// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/checkpoint/weights.h"

namespace hadal::checkpoint {

// The experts of every token of a hash layer (DeepSeek-V4's gate.tid2eid).
struct ExpertTable {
  std::vector<int64_t> shape;    // [vocab, experts per token]
  std::vector<int32_t> experts;  // row-major
  int64_t stored_bytes = 0;
};

// Reads I64 or I32 entries; dummy weights give different experts within a row. InvalidArgument names the tensor, and
// the token and the value of the first entry outside [0, experts).
absl::StatusOr<ExpertTable> ReadExpertTable(const WeightStore& store, absl::string_view name, int64_t experts);

}  // namespace hadal::checkpoint
