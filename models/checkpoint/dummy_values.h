// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/tensor_view.h"
#include "models/checkpoint/tensor_spec.h"

namespace hadal::checkpoint {

// Seeded small random values for weights without a checkpoint: uniform in (-0.035, 0.035) (standard deviation 0.02),
// norms around 1. A value depends on the seed, the tensor's name and its place alone. Immutable after construction,
// thread-safe.
class DummyValues {
 public:
  // Values are rounded to `dtype` (f32, bf16, f16).
  DummyValues(uint64_t seed, kernels::DType dtype);

  // Elements [begin, begin + count) of the tensor, row-major.
  void Fill(const TensorSpec& spec, int64_t begin, int64_t count, void* out) const;

 private:
  uint64_t seed_;
  int64_t element_bytes_;
  std::vector<uint8_t> values_;  // one period
  std::vector<uint8_t> norms_;   // one period around 1
};

}  // namespace hadal::checkpoint
