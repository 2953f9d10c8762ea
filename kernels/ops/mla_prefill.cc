// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/mla_prefill.h"

#include "kernels/ops/check.h"

namespace hadal::kernels {
namespace {

int64_t ContextTokens(const RaggedBatch& batch) {
  int64_t sum = 0;
  for (int32_t context : batch.host_context_lens) sum += context;
  return sum;
}

absl::Status CheckKvStart(const char* op, const TensorView& kv_start, const RaggedBatch& batch) {
  return FirstError({CheckContiguous(op, "kv_start", kv_start, {batch.sequences() + 1}),
                     CheckDType(op, "kv_start", kv_start, DType::kI32)});
}

}  // namespace

absl::Status CheckMlaGather(const MlaGatherParams& p) {
  const char* op = "mla_gather";
  if (absl::Status s = FirstError(
          {CheckShape(op, "cache", p.cache, {kAnySize, kAnySize, kAnySize}), CheckComputeDType(op, "cache", p.cache),
           CheckPositive(op, "block_tokens", p.cache.size(1)),
           CheckRaggedBatch(op, p.batch, p.batch.tokens(), p.cache.size(1)), CheckKvStart(op, p.kv_start, p.batch)});
      !s.ok()) {
    return s;
  }
  return FirstError({CheckShape(op, "latent", p.latent, {ContextTokens(p.batch), p.cache.size(2)}),
                     CheckComputeDType(op, "latent", p.latent)});
}

absl::Status CheckMlaPrefill(const MlaPrefillParams& p) {
  const char* op = "mla_prefill";
  if (absl::Status s = FirstError(
          {CheckShape(op, "q_nope", p.q_nope, {kAnySize, kAnySize, kAnySize}),
           CheckComputeDType(op, "q_nope", p.q_nope), CheckShape(op, "q_pe", p.q_pe, {kAnySize, kAnySize, kAnySize}),
           CheckDType(op, "q_pe", p.q_pe, p.q_nope.dtype), CheckShape(op, "v", p.v, {kAnySize, kAnySize, kAnySize})});
      !s.ok()) {
    return s;
  }
  const int64_t tokens = p.q_nope.size(0), heads = p.q_nope.size(1), kv_tokens = ContextTokens(p.batch);
  if (absl::Status s = FirstError(
          {CheckPositive(op, "n", p.q_nope.size(2)), CheckShape(op, "q_pe", p.q_pe, {tokens, heads, kAnySize}),
           CheckShape(op, "k_nope", p.k_nope, {kv_tokens, heads, p.q_nope.size(2)}),
           CheckComputeDType(op, "k_nope", p.k_nope), CheckShape(op, "k_pe", p.k_pe, {kv_tokens, p.q_pe.size(2)}),
           CheckDType(op, "k_pe", p.k_pe, p.k_nope.dtype), CheckShape(op, "v", p.v, {kv_tokens, heads, kAnySize}),
           CheckDType(op, "v", p.v, p.k_nope.dtype)});
      !s.ok()) {
    return s;
  }
  return FirstError({CheckShape(op, "out", p.out, {tokens, heads, p.v.size(2)}), CheckComputeDType(op, "out", p.out),
                     CheckKvStart(op, p.kv_start, p.batch), CheckRaggedBatch(op, p.batch, tokens, 0)});
}

}  // namespace hadal::kernels
