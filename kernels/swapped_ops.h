// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/backend.h"

namespace hadal::kernels {

// `base` with some ops run by `other` on base's memory, to find the op at fault: both drive one device. Before and
// after such an op it waits for the device, so the order is kept and a failure shows at the op that made it.
//
// `ops` are names as in kernels/ops/*.h, by comma: "gemm,paged_attention". InvalidArgument: a name that is none.
// Memory, copies and what else is no op are base's; so is the name. Threads as of Backend.
absl::StatusOr<std::unique_ptr<Backend>> SwapOps(std::unique_ptr<Backend> base, std::unique_ptr<Backend> other,
                                                 absl::string_view ops);

}  // namespace hadal::kernels
