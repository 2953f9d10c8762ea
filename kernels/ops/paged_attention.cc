// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/paged_attention.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckPagedAttention(const PagedAttentionParams& p) {
  const char* op = "paged_attention";
  if (absl::Status s =
          FirstError({CheckShape(op, "q", p.q, {kAnySize, kAnySize, kAnySize}), CheckComputeDType(op, "q", p.q),
                      CheckShape(op, "k_cache", p.k_cache, {kAnySize, kAnySize, kAnySize, p.q.size(2)}),
                      CheckComputeDType(op, "k_cache", p.k_cache)});
      !s.ok()) {
    return s;
  }
  const int64_t blocks = p.k_cache.size(0), block_tokens = p.k_cache.size(1), kv_heads = p.k_cache.size(2);
  if (absl::Status s = FirstError({CheckPositive(op, "block_tokens", block_tokens),
                                   CheckPositive(op, "kv_heads", kv_heads), CheckPositive(op, "head_dim", p.q.size(2)),
                                   CheckShape(op, "v_cache", p.v_cache, {blocks, block_tokens, kv_heads, kAnySize}),
                                   CheckDType(op, "v_cache", p.v_cache, p.k_cache.dtype)});
      !s.ok()) {
    return s;
  }
  if (p.q.size(1) % kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("paged_attention: expected a number of heads that is a multiple of ",
                                                   kv_heads, " kv heads, found ", p.q.size(1)));
  }
  return FirstError({CheckShape(op, "out", p.out, {p.q.size(0), p.q.size(1), p.v_cache.size(3)}),
                     CheckComputeDType(op, "out", p.out), CheckRaggedBatch(op, p.batch, p.q.size(0), block_tokens)});
}

}  // namespace hadal::kernels
