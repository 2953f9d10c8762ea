// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/feed_tokens.h"

#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckFeedTokens(const FeedTokensParams& p) {
  const char* op = "feed_tokens";
  return FirstError({CheckContiguous(op, "ids", p.ids, {kAnySize}), CheckDType(op, "ids", p.ids, DType::kI32),
                     CheckContiguous(op, "sampled", p.sampled, {kAnySize}),
                     CheckDType(op, "sampled", p.sampled, DType::kI32)});
}

}  // namespace hadal::kernels
