// SPDX-License-Identifier: Apache-2.0
//
// Attention with keys and values of each head: libtorch's scaled_dot_product_attention, one sequence at a time.
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <cmath>
#include <limits>
#include <optional>

#include "kernels/torch/paged_cache.h"
#include "kernels/torch/tensors.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

// q [n, heads, d], the newest of m positions; k [m, kv_heads, d], v [m, kv_heads, v_dim]; writes out [n, heads, v_dim].
void Attend(const at::Tensor& q, at::Tensor k, at::Tensor v, double scale, const at::Tensor& out) {
  const int64_t n = q.size(0), m = k.size(0), heads = q.size(1), group = heads / k.size(1);
  // A key that a row does not see has weight 0, and 0 times NaN is NaN: keys with such values are cleared, and the rows
  // that do see them get NaN afterwards. A single row sees every key.
  std::optional<at::Tensor> poisoned;
  if (n > 1) {
    const at::Tensor bad = at::isfinite(k).all(-1).logical_and(at::isfinite(v).all(-1)).logical_not();
    poisoned = bad.cumsum(0).narrow(0, m - n, n).gt(0).repeat_interleave(group, 1).unsqueeze(-1);
    k = k.masked_fill(bad.unsqueeze(-1), 0);
    v = v.masked_fill(bad.unsqueeze(-1), 0);
  }
  const auto by_head = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  const int64_t step = QueriesAtOnce(heads * m);
  for (int64_t begin = 0; begin < n; begin += step) {
    const int64_t count = std::min(step, n - begin), keys = m - n + begin + count;
    const bool square = count == keys;
    std::optional<at::Tensor> mask;
    if (count > 1 && !square) {
      const at::Tensor position = Range(q.device(), keys - count, keys).unsqueeze(1);
      mask = Range(q.device(), 0, keys).unsqueeze(0).le(position);
    }
    const at::Tensor sums = at::scaled_dot_product_attention(
        by_head(q.narrow(0, begin, count)), by_head(k.narrow(0, 0, keys)), by_head(v.narrow(0, 0, keys)), mask,
        /*dropout_p=*/0.0, /*is_causal=*/count > 1 && square, scale, /*enable_gqa=*/group > 1);
    at::Tensor rows = sums.squeeze(0).transpose(0, 1);
    if (poisoned.has_value()) {
      rows = rows.masked_fill(poisoned->narrow(0, begin, count), std::numeric_limits<double>::quiet_NaN());
    }
    out.narrow(0, begin, count).copy_(rows);
  }
}

// The type that all three have, or else float32.
at::ScalarType CommonType(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const bool one = q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type();
  return one ? q.scalar_type() : at::kFloat;
}

}  // namespace

void PagedAttention(const at::Device& device, const PagedAttentionParams& p) {
  const at::Tensor q = Wrap(device, p.q), k = Wrap(device, p.k_cache), v = Wrap(device, p.v_cache);
  const at::Tensor out = Wrap(device, p.out), tables = Wrap(device, p.batch.block_tables);
  const at::ScalarType type = CommonType(q, k, v);
  ForEachSequence(p.batch, [&](const QueryRange& r) {
    Attend(q.narrow(0, r.begin, r.count).to(type), CachedRows(k, tables, r.sequence, 0, r.context_tokens).to(type),
           CachedRows(v, tables, r.sequence, 0, r.context_tokens).to(type), p.scale, out.narrow(0, r.begin, r.count));
  });
}

void MlaGather(const at::Device& device, const MlaGatherParams& p) {
  const at::Tensor cache = Wrap(device, p.cache), latent = Wrap(device, p.latent);
  const at::Tensor tables = Wrap(device, p.batch.block_tables);
  int64_t start = 0;  // kv_start is the running sum of the contexts
  for (int64_t s = 0; s < p.batch.sequences(); ++s) {
    const int64_t context = p.batch.host_context_lens[s];
    if (context > 0) latent.narrow(0, start, context).copy_(CachedRows(cache, tables, s, 0, context));
    start += context;
  }
}

void MlaPrefill(const at::Device& device, const MlaPrefillParams& p) {
  const at::Tensor q_nope = Wrap(device, p.q_nope), q_pe = Wrap(device, p.q_pe), out = Wrap(device, p.out);
  const at::Tensor k_nope = Wrap(device, p.k_nope), k_pe = Wrap(device, p.k_pe), v = Wrap(device, p.v);
  const at::ScalarType type = CommonType(q_nope, k_nope, v);
  int64_t start = 0;
  for (int64_t s = 0; s < p.batch.sequences(); ++s) {
    const int64_t begin = p.batch.host_query_start[s], count = p.batch.host_query_start[s + 1] - begin;
    const int64_t context = p.batch.host_context_lens[s], heads = q_nope.size(1);
    if (count > 0) {
      const at::Tensor q = at::cat({q_nope.narrow(0, begin, count).to(type), q_pe.narrow(0, begin, count).to(type)}, 2);
      const at::Tensor shared = k_pe.narrow(0, start, context).to(type).unsqueeze(1).expand({-1, heads, -1});
      const at::Tensor k = at::cat({k_nope.narrow(0, start, context).to(type), shared}, 2);
      Attend(q, k, v.narrow(0, start, context).to(type), p.scale, out.narrow(0, begin, count));
    }
    start += context;
  }
}

}  // namespace hadal::kernels::torch
