// SPDX-License-Identifier: Apache-2.0
//
// What works on single rows: gathers, norms, rotation, activations.
#include <ATen/TensorIndexing.h>
#include <ATen/ops/index.h>
#include <ATen/ops/index_put.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/torch/tensors.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

at::Tensor Rsqrt(const at::Tensor& mean_square, double eps) { return mean_square.add(eps).rsqrt(); }

void Rotate(const RopeParams& p, at::Tensor x, const at::Tensor& valid, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = p.cos.size(1);
  const bool split = p.layout == RopeLayout::kHalfSplit;
  const at::Tensor first = split ? x.narrow(2, 0, half) : x.slice(2, 0, 2 * half, 2);
  const at::Tensor second = split ? x.narrow(2, half, half) : x.slice(2, 1, 2 * half, 2);
  const at::Tensor a = first.to(at::kFloat), b = second.to(at::kFloat);
  const at::Tensor new_a = a * cos - b * sin, new_b = b * cos + a * sin;
  first.copy_(at::where(valid, new_a, a));
  second.copy_(at::where(valid, new_b, b));
}

// index_put_ takes no slot that is to be skipped, and dropping such rows would cost a device a wait for their number.
// So they repeat what the first good row writes; without a good row, what is there is written again.
void Append(const at::Tensor& rows, at::Tensor cache, const at::Tensor& slot_mapping) {
  if (rows.numel() == 0 || cache.numel() == 0) return;
  const int64_t block_tokens = cache.size(1);
  const at::Tensor slots = slot_mapping.to(at::kLong);
  const at::Tensor good = slots.ge(0).logical_and(slots.lt(cache.size(0) * block_tokens));
  const at::Tensor first_good = good.to(at::kInt).argmax();
  const at::Tensor source = at::where(good, Range(rows.device(), 0, rows.size(0)), first_good);
  const at::Tensor target = at::where(good.any(), slots.index_select(0, source), at::zeros_like(slots));
  const at::Tensor block = target.floor_divide(block_tokens), offset = target.remainder(block_tokens);
  const at::Tensor values =
      at::where(good.any(), rows.index_select(0, source).to(cache.scalar_type()), cache.index({block, offset}));
  cache.index_put_({block, offset}, values);
}

}  // namespace

void Embedding(const at::Device& device, const EmbeddingParams& p) {
  const at::Tensor ids = Wrap(device, p.ids), table = Wrap(device, p.table), out = Wrap(device, p.out);
  if (out.numel() == 0) return;
  if (table.numel() == 0) {
    out.zero_();
    return;
  }
  const at::Tensor known = ids.ge(0).logical_and(ids.lt(table.size(0)));
  const at::Tensor rows = table.index_select(0, ids.clamp(0, table.size(0) - 1));
  out.copy_(rows.masked_fill(known.logical_not().unsqueeze(1), 0));
}

void RmsNorm(const at::Device& device, const RmsNormParams& p) {
  const at::Tensor x = Wrap(device, p.x);
  at::Tensor s = x.to(at::kFloat);
  if (p.residual.present()) {
    const at::Tensor residual = Wrap(device, p.residual);
    residual.copy_(residual.to(at::kFloat).add(s));
    s = residual.to(at::kFloat);
  }
  if (!p.out.present()) return;
  at::Tensor r = s * Rsqrt(s.square().mean(-1, /*keepdim=*/true), p.eps);
  if (p.weight.present()) {
    if (!p.float32_product) r = r.to(x.scalar_type()).to(at::kFloat);
    r = Wrap(device, p.weight).to(at::kFloat) * r;
  }
  Wrap(device, p.out).copy_(r);
}

void LayerNorm(const at::Device& device, const LayerNormParams& p) {
  const at::Tensor x = Wrap(device, p.x).to(at::kFloat);
  const at::Tensor centred = x - x.mean(-1, /*keepdim=*/true);
  const at::Tensor scaled = centred * Rsqrt(centred.square().mean(-1, /*keepdim=*/true), p.eps);
  Wrap(device, p.out).copy_(scaled * Wrap(device, p.weight).to(at::kFloat) + Wrap(device, p.bias).to(at::kFloat));
}

void Rope(const at::Device& device, const RopeParams& p) {
  const at::Tensor positions = Wrap(device, p.positions), cos = Wrap(device, p.cos), sin = Wrap(device, p.sin);
  if (positions.numel() == 0 || cos.numel() == 0) return;
  const at::Tensor valid = positions.ge(0).logical_and(positions.lt(cos.size(0))).view({-1, 1, 1});
  const at::Tensor rows = positions.clamp(0, cos.size(0) - 1);
  const at::Tensor c = cos.index_select(0, rows).unsqueeze(1), s = sin.index_select(0, rows).unsqueeze(1);
  for (const TensorView& x : {p.q, p.k}) {
    if (x.present()) Rotate(p, Wrap(device, x), valid, c, p.inverse ? s.neg() : s);
  }
}

void KvAppend(const at::Device& device, const KvAppendParams& p) {
  const at::Tensor slots = Wrap(device, p.slot_mapping);
  Append(Wrap(device, p.k), Wrap(device, p.k_cache), slots);
  if (p.v.present()) Append(Wrap(device, p.v), Wrap(device, p.v_cache), slots);
}

void SiluMul(const at::Device& device, const SiluMulParams& p) {
  at::Tensor gate = Wrap(device, p.gate).to(at::kFloat), up = Wrap(device, p.up).to(at::kFloat);
  if (p.limit > 0) {
    gate = gate.clamp_max(p.limit);
    up = up.clamp(-p.limit, p.limit);
  }
  Wrap(device, p.out).copy_(gate / (gate.neg().exp() + 1) * up);
}

void Cast(const at::Device& device, const CastParams& p) { Wrap(device, p.out).copy_(Wrap(device, p.in)); }

}  // namespace hadal::kernels::torch
