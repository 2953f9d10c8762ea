// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/backend.h"

namespace hadal::kernels {

// `base` with some ops run by `other` on base's memory, to find the op at fault. `other` queues its work on base's
// stream (CudaQueueOf), or has done it when an op returns, so the order is kept and nobody waits. `enter` is called
// before each of its ops; its failure is the op's. May be empty.
//
// `ops` are names as in kernels/ops/*.h, by comma: "gemm,paged_attention". InvalidArgument: a name that is none.
// Memory, copies and what else is no op are base's; so is the name. Threads as of Backend.
absl::StatusOr<std::unique_ptr<Backend>> SwapOps(std::unique_ptr<Backend> base, std::unique_ptr<Backend> other,
                                                 absl::string_view ops, std::function<absl::Status()> enter = {});

}  // namespace hadal::kernels
