// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/algorithm_tuner.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

// Dense products by cuBLASLt with float32 accumulation (no TF32, no reduction in half types). The algorithm of a shape
// is asked for once and kept; which of several it is, a tuner may say. Owns its handle, borrows its workspace and its
// tuner; used by one thread at a time, on one stream.
//
// Batch-invariant: one algorithm serves a weight for every number of rows. It is asked for as for kInvariantRows rows,
// has no split sums and no workspace to keep partial ones in, and takes all the row counts it was tried with.
class CublasGemm {
 public:
  struct Options {
    bool batch_invariant = false;
    void* workspace = nullptr;        // on the device, WorkspaceBytes
    int64_t multiprocessors = 0;      // that algorithms are chosen for, where this process may not use all; 0: all
    AlgorithmTuner* tuner = nullptr;  // null: always the library's first choice. Batch-invariant, it is not asked
  };
  // Device bytes of the workspace.
  static int64_t WorkspaceBytes(bool batch_invariant);
  // Of the library, as it numbers them.
  static int64_t Version();
  static absl::StatusOr<std::unique_ptr<CublasGemm>> Create(Stream stream, const Options& options);
  virtual ~CublasGemm() = default;

  // Queues the product. Unimplemented, with cuBLASLt's reason: it does not take this shape, and nothing was queued; the
  // refusal is remembered. Batch-invariant, that answer does not depend on the number of rows; Internal when the
  // algorithm refuses one after all.
  virtual absl::Status Run(const GemmPlan& plan) = 0;
};

}  // namespace hadal::kernels::cuda
