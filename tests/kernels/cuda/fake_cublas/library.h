// SPDX-License-Identifier: Apache-2.0
//
// A cuBLASLt that computes, in float32 on the host, what its descriptors say; and what a test tells it to refuse.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "tests/kernels/cuda/fake_cublas/cublasLt.h"

namespace hadal::kernels::cuda {

struct FakeCublas {
  // What it says. Algorithms are numbers from 0, the heuristic's first choice.
  int algorithms = 4;
  cublasStatus_t heuristic = CUBLAS_STATUS_SUCCESS;
  std::map<uint64_t, cublasStatus_t> refused;  // by the product itself
  std::set<uint64_t> unfit;                    // for cublasLtMatmulAlgoCheck
  std::set<uint64_t> splitting;                // sums in pieces
  std::map<uint64_t, float> ms;                // that a product takes; else 1
  bool capturing = false;

  // What it was asked.
  int heuristics = 0, checks = 0, products = 0, errors_taken = 0;
  uint64_t algorithm = 0;  // of the last product
  size_t workspace_bytes = 0;
  void* workspace = nullptr;
  int32_t multiprocessors = 0;  // of the last product; 0: not told
  uint32_t reductions = 0, w_alignment = 0, x_alignment = 0, out_alignment = 0;
  int objects = 0;  // that nobody has destroyed
  float now_ms = 0;
};

// A test that changes something puts it back: TheCublas() = {}.
FakeCublas& TheCublas();

}  // namespace hadal::kernels::cuda
