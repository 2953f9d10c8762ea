// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "kernels/torch/tensors.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

// Values of a weight that are widened at a time.
constexpr int64_t kWidenedValues = int64_t{16} << 20;

bool IsWideProductOfHalves(const at::Tensor& x, const at::Tensor& w) {
  return x.is_cuda() && x.scalar_type() == w.scalar_type() && x.scalar_type() != at::kFloat;
}

// x [m, k] * w [n, k]^T in float32. mm into another type exists for halves on CUDA alone; elsewhere the weight is
// widened, some rows at a time.
at::Tensor FloatProduct(const at::Tensor& x, const at::Tensor& w) {
  if (IsWideProductOfHalves(x, w)) return at::mm(x, w.t(), at::kFloat);
  const at::Tensor wide_x = x.to(at::kFloat);
  if (w.scalar_type() == at::kFloat) return at::mm(wide_x, w.t());
  const int64_t rows = w.size(0), step = std::max<int64_t>(1, kWidenedValues / std::max<int64_t>(1, w.size(1)));
  at::Tensor out = at::empty({x.size(0), rows}, wide_x.options());
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t count = std::min(step, rows - begin);
    out.narrow(1, begin, count).copy_(at::mm(wide_x, w.narrow(0, begin, count).to(at::kFloat).t()));
  }
  return out;
}

// `bias` may be undefined.
void Multiply(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias, bool accumulate, at::Tensor out) {
  if (out.numel() == 0) return;
  const at::ScalarType type = out.scalar_type();
  const bool one_type = x.scalar_type() == type && w.scalar_type() == type && x.size(1) > 0 &&
                        (!bias.defined() || bias.scalar_type() == type);
  if (one_type && !bias.defined() && !accumulate) {
    at::mm_out(out, x, w.t());
  } else if (one_type && !(bias.defined() && accumulate)) {
    at::addmm_out(out, accumulate ? out : bias, x, w.t());
  } else {
    at::Tensor sum = FloatProduct(x, w);
    if (bias.defined()) sum.add_(bias);
    if (accumulate) sum.add_(out);
    out.copy_(sum);
  }
}

}  // namespace

void Gemm(const at::Device& device, const GemmParams& p) {
  Multiply(Wrap(device, p.x), Wrap(device, p.w.values), p.bias.present() ? Wrap(device, p.bias) : at::Tensor(),
           p.accumulate, Wrap(device, p.out));
}

void BatchedGemm(const at::Device& device, const BatchedGemmParams& p) {
  const at::Tensor x = Wrap(device, p.x).transpose(0, 1), stored = Wrap(device, p.w.values);
  const at::Tensor w = p.transpose_w ? stored : stored.transpose(1, 2);
  const at::Tensor out = Wrap(device, p.out).transpose(0, 1);
  if (out.numel() == 0) return;
  if (x.scalar_type() == w.scalar_type() && x.scalar_type() == out.scalar_type()) {
    out.copy_(at::bmm(x, w));
  } else if (IsWideProductOfHalves(x, w)) {
    out.copy_(at::bmm(x, w, at::kFloat));
  } else {
    out.copy_(at::bmm(x.to(at::kFloat), w.to(at::kFloat)));
  }
}

// One product an expert: how many rows each has must be known here, which costs a device a wait.
void GroupedGemm(const at::Device& device, const GroupedGemmParams& p) {
  const at::Tensor starts = Wrap(device, p.expert_start).cpu(), addresses = Wrap(device, p.w.values).cpu();
  const int32_t* start = starts.const_data_ptr<int32_t>();
  for (int64_t e = 0; e < p.w.experts(); ++e) {
    const int64_t rows = start[e + 1] - start[e];
    if (rows == 0) continue;
    TensorView w = p.w.each.values;
    w.data = reinterpret_cast<void*>(addresses.const_data_ptr<int64_t>()[e]);
    Multiply(Wrap(device, p.x.Slice(0, start[e], rows)), Wrap(device, w), at::Tensor(), false,
             Wrap(device, p.out.Slice(0, start[e], rows)));
  }
}

}  // namespace hadal::kernels::torch
