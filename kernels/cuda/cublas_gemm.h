// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

// Dense products by cuBLASLt with float32 accumulation (no TF32, no reduction in half types). The algorithm of a shape
// is asked for once and kept. Owns its handle, borrows its workspace; used by one thread at a time, on one stream.
//
// Batch-invariant: one algorithm serves a weight for every number of rows. It is asked for as for kInvariantRows rows,
// has no split sums and no workspace to keep partial ones in, and takes all the row counts it was tried with.
class CublasGemm {
 public:
  // Device bytes of the workspace.
  static int64_t WorkspaceBytes(bool batch_invariant);
  // `multiprocessors`: how many of them algorithms are chosen for, where this process may not use all; 0: all.
  static absl::StatusOr<std::unique_ptr<CublasGemm>> Create(Stream stream, bool batch_invariant, void* workspace,
                                                            int64_t multiprocessors);
  virtual ~CublasGemm() = default;

  // Queues the product. Unimplemented, with cuBLASLt's reason: it does not take this shape, and nothing was queued; the
  // refusal is remembered. Batch-invariant, that answer does not depend on the number of rows; Internal when the
  // algorithm refuses one after all.
  virtual absl::Status Run(const GemmPlan& plan) = 0;
};

}  // namespace hadal::kernels::cuda
