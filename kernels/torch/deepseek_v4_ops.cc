// SPDX-License-Identifier: Apache-2.0
//
// What DeepSeek-V4 adds: pooled cache entries and hyper-connections. In float32.
#include <ATen/TensorIndexing.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/index.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

#include <limits>

#include "kernels/torch/tensors.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

// Rows u and g of the positions [entries, rows] of the sequences [entries, 1]: [entries, rows, 2, width].
at::Tensor PooledRows(const at::Device& device, const CompressPoolParams& p, const at::Tensor& sequence,
                      const at::Tensor& position) {
  const at::Tensor starts = Wrap(device, p.batch.query_start).to(at::kLong), step_rows = Wrap(device, p.step_rows);
  const at::Tensor begin = starts.index({sequence}), count = starts.index({sequence + 1}) - begin;
  const at::Tensor first_new = Wrap(device, p.batch.context_lens).to(at::kLong).index({sequence}) - count;
  const at::Tensor is_new = position.ge(first_new);
  const at::Tensor cache = Wrap(device, p.rows), tables = Wrap(device, p.batch.block_tables);
  // Each side reads something in bounds where the other one counts.
  at::Tensor from_step, from_cache;
  if (step_rows.size(0) > 0) {
    from_step = step_rows.index({(begin + position - first_new).clamp(0, step_rows.size(0) - 1)});
  }
  if (cache.numel() > 0) {
    const at::Tensor column = position.floor_divide(p.block_tokens).clamp(0, tables.size(1) - 1);
    const at::Tensor block = at::where(is_new, 0, tables.index({sequence, column})).to(at::kLong);
    from_cache =
        cache.index({block.clamp(0, cache.size(0) - 1), position.remainder(p.block_tokens).remainder(cache.size(1))});
  }
  if (!from_cache.defined()) return from_step;
  if (!from_step.defined()) return from_cache;
  return at::where(is_new.unsqueeze(-1).unsqueeze(-1), from_step, from_cache);
}

at::Tensor SumAndEps(const at::Tensor& c, int64_t dim, double eps) { return c.sum(dim, /*keepdim=*/true).add(eps); }

}  // namespace

void CompressPool(const at::Device& device, const CompressPoolParams& p) {
  if (p.out.numel() == 0) return;
  const int64_t ratio = p.position_bias.size(0), dim = p.out.size(1);
  const at::Tensor sequence = Wrap(device, p.sequences).to(at::kLong).unsqueeze(1);
  const at::Tensor first = Wrap(device, p.entries).to(at::kLong).unsqueeze(1) * ratio;
  const at::Tensor position = first + Range(device, p.overlap ? -ratio : 0, ratio).unsqueeze(0);
  const at::Tensor exists = position.ge(0).unsqueeze(-1);
  at::Tensor rows = PooledRows(device, p, sequence, position.clamp_min(0)), bias = Wrap(device, p.position_bias);
  if (p.overlap) {  // the first series of the group before, the second of its own
    rows = at::cat({rows.narrow(1, 0, ratio).narrow(3, 0, dim), rows.narrow(1, ratio, ratio).narrow(3, dim, dim)}, 1);
    bias = at::cat({bias.narrow(1, 0, dim), bias.narrow(1, dim, dim)}, 0);
  }
  const at::Tensor gates = at::where(exists, rows.select(2, 1) + bias, -std::numeric_limits<double>::infinity());
  const at::Tensor values = at::where(exists, rows.select(2, 0), 0.0);
  Wrap(device, p.out).copy_((at::softmax(gates, 1) * values).sum(1));
}

void HyperCollapse(const at::Device& device, const HyperCollapseParams& p) {
  const at::Tensor streams = Wrap(device, p.streams).to(at::kFloat), base = Wrap(device, p.base);
  const at::Tensor scale = Wrap(device, p.scale);
  const int64_t tokens = streams.size(0), n = streams.size(1);
  if (tokens == 0) return;
  const at::Tensor norm = streams.square().mean({1, 2}).add(p.norm_eps).rsqrt().unsqueeze(1);
  const at::Tensor mixes = Wrap(device, p.mixes) * norm;
  const auto part = [&](int64_t index, int64_t begin, int64_t count) {
    return mixes.narrow(1, begin, count) * scale.select(0, index) + base.narrow(0, begin, count);
  };
  const at::Tensor pre = part(0, 0, n).sigmoid() + p.eps;
  if (p.post.present()) {
    Wrap(device, p.post).copy_(part(1, n, n).sigmoid() * 2);
    at::Tensor c = at::softmax(part(2, 2 * n, n * n).view({tokens, n, n}), 2) + p.eps;
    c = c / SumAndEps(c, 1, p.eps);
    for (int64_t round = 1; round < p.sinkhorn_iterations; ++round) {
      c = c / SumAndEps(c, 2, p.eps);
      c = c / SumAndEps(c, 1, p.eps);
    }
    Wrap(device, p.comb).copy_(c);
  }
  Wrap(device, p.out).copy_((pre.unsqueeze(2) * streams).sum(1));
}

void HyperExpand(const at::Device& device, const HyperExpandParams& p) {
  const at::Tensor streams = Wrap(device, p.streams);
  if (streams.numel() == 0) return;
  const at::Tensor mixed = at::einsum("tij,tid->tjd", {Wrap(device, p.comb), streams.to(at::kFloat)});
  const at::Tensor added = Wrap(device, p.post).unsqueeze(2) * Wrap(device, p.x).to(at::kFloat).unsqueeze(1);
  streams.copy_(added + mixed);
}

}  // namespace hadal::kernels::torch
