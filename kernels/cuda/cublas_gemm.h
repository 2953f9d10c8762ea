// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

// Dense products by cuBLASLt with float32 accumulation (no TF32, no reduction in half types). The algorithm of a shape
// is asked for once and kept. Owns its handle and workspace; used by one thread at a time, on one stream.
//
// Batch-invariant: one algorithm serves a weight for every number of rows. It is asked for as for kInvariantRows rows,
// has no split sums and no workspace to keep partial ones in, and takes all the row counts it was tried with.
class CublasGemm {
 public:
  static absl::StatusOr<std::unique_ptr<CublasGemm>> Create(Stream stream, bool batch_invariant);
  virtual ~CublasGemm() = default;

  // Queues the product. False: cuBLASLt has no algorithm for this shape, nothing was queued. Batch-invariant, that
  // answer does not depend on the number of rows; Internal when the algorithm refuses one after all.
  virtual absl::StatusOr<bool> Run(const GemmPlan& plan) = 0;
};

}  // namespace hadal::kernels::cuda
