// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/checkpoint/weights.h"

namespace hadal::checkpoint {

// The experts of every token of a hash layer (DeepSeek-V4's gate.tid2eid), as stored. Immutable, thread-safe.
class ExpertTable {
 public:
  // Finds I64 or I32 entries. InvalidArgument names the tensor, what was expected and what was found.
  static absl::StatusOr<ExpertTable> Find(const WeightStore& store, absl::string_view name, int64_t experts);

  const std::vector<int64_t>& shape() const { return shape_; }  // [vocab, experts per token]
  int64_t entries() const { return shape_[0] * shape_[1]; }
  int64_t stored_bytes() const { return stored_bytes_; }

  // Entries [begin, begin + count), row-major; dummy weights give different experts within a row. InvalidArgument names
  // the tensor, and the token and the value of the first of them outside [0, experts).
  absl::Status Read(int64_t begin, int64_t count, int32_t* out) const;

 private:
  ExpertTable() = default;

  std::string path_, name_;
  std::vector<int64_t> shape_;
  int64_t experts_ = 0;
  int64_t stored_bytes_ = 0;
  int64_t first_expert_ = 0;  // of the first token of dummy weights
  StoredTensor stored_;       // empty for dummy weights
};

}  // namespace hadal::checkpoint
