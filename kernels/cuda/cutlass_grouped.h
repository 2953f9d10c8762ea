// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

// One product an expert on the tensor cores, by CUTLASS's grouped GEMM (headers that come with FlashInfer). The number
// of rows of each expert is read on the device. gemm_plan.h says what it takes.
struct CutlassGroupedLaunch {
  DType dtype = DType::kBF16;  // of x, the weights and out
  const void* x = nullptr;
  void* out = nullptr;
  int64_t n = 0, k = 0, experts = 0;
  int64_t x_row = 0, w_row = 0, out_row = 0;
  const int32_t* expert_start = nullptr;  // device
  const int64_t* weights = nullptr;       // device; multiples of 16, else the device traps
  void* workspace = nullptr;              // device, CutlassGroupedBytes, 256-byte aligned
};

// Lists of CUTLASS for so many experts: problem size, three pointers and three strides each.
constexpr int64_t CutlassGroupedBytes(int64_t experts) { return experts * (6 * 8 + 3 * 4); }

// False where CUTLASS is not compiled in (in the emulator of the tests).
bool HaveCutlass();

// A cudaError_t.
int LaunchCutlassGrouped(Stream stream, const CutlassGroupedLaunch& launch);

}  // namespace hadal::kernels::cuda
