// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gemm_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace hadal::kernels::cuda {
namespace {

// The choice of an algorithm is told the alignment of the matrices, not that of the bias.
constexpr int32_t kBiasAlignment = 16;

// A leading dimension for rows of `width` elements; of a single row the stride has no meaning. 0: rows overlap.
int64_t LeadingDimension(int64_t rows, int64_t stride, int64_t width) {
  if (rows <= 1) return std::max<int64_t>(stride, width);
  return stride >= width ? stride : 0;
}

bool TypesPair(DType x, DType w, DType out) { return x == w && (out == x || out == DType::kF32); }

bool Complete(const GemmShape& s) {
  return s.m >= 1 && s.n >= 1 && s.k >= 1 && s.batch >= 1 && s.x_row > 0 && s.w_row > 0 && s.out_row > 0;
}

void FillAlignments(GemmPlan& plan) {
  GemmShape& s = plan.shape;
  s.x_alignment = CommonAlignment(plan.x, s.in, s.x_batch);
  s.w_alignment = CommonAlignment(plan.w, s.in, s.w_batch);
  s.out_alignment = CommonAlignment(plan.out, s.out, s.out_batch);
  s.bias_alignment = s.has_bias ? CommonAlignment(plan.bias, s.out, 0) : 0;
}

}  // namespace

int32_t CommonAlignment(const void* data, DType dtype, int64_t batch_stride) {
  const uint64_t bits = reinterpret_cast<uintptr_t>(data) | static_cast<uint64_t>(batch_stride * DTypeBytes(dtype));
  int32_t alignment = 1;
  while (alignment < 256 && bits % (2 * alignment) == 0) alignment *= 2;
  return alignment;
}

GemmShape ForAnyRows(const GemmShape& shape) {
  constexpr int32_t kVectorBytes = 16;  // no kernel loads more at once
  GemmShape any = shape;
  any.m = kInvariantRows;
  // Any row may be the first of a call.
  const auto of_rows = [](int32_t alignment, int64_t row, DType dtype) {
    return std::min({alignment, CommonAlignment(nullptr, dtype, row), kVectorBytes});
  };
  any.x_alignment = of_rows(shape.x_alignment, shape.x_row, shape.in);
  any.out_alignment = of_rows(shape.out_alignment, shape.out_row, shape.out);
  any.w_alignment = std::min(shape.w_alignment, kVectorBytes);
  any.bias_alignment = std::min(shape.bias_alignment, kVectorBytes);
  return any;
}

GemmShape OfWeight(const GemmShape& shape) {
  GemmShape weight = shape;
  weight.m = 0;
  weight.x_alignment = weight.w_alignment = weight.out_alignment = weight.bias_alignment = 0;
  return weight;
}

std::string ToString(const GemmShape& s) {
  const char* in = DTypeName(s.in);
  std::string text = absl::StrCat(in, " x ", in, " -> ", DTypeName(s.out), ", ", s.m, " x ", s.n, ", k ", s.k);
  if (s.batch > 1) absl::StrAppend(&text, ", batch ", s.batch);
  if (s.transposed_w) absl::StrAppend(&text, ", w transposed");
  if (s.has_bias) absl::StrAppend(&text, ", bias");
  if (s.accumulate) absl::StrAppend(&text, ", accumulating");
  return text;
}

std::optional<GemmPlan> PlanGemm(const GemmParams& p) {
  const TensorView& w = p.w.values;
  if (!TypesPair(p.x.dtype, w.dtype, p.out.dtype)) return std::nullopt;
  if (p.bias.present() && p.bias.dtype != p.out.dtype) return std::nullopt;
  GemmPlan plan;
  GemmShape& s = plan.shape;
  s.in = p.x.dtype;
  s.out = p.out.dtype;
  s.has_bias = p.bias.present();
  s.accumulate = p.accumulate;
  s.m = p.x.size(0);
  s.n = w.size(0);
  s.k = p.x.size(1);
  s.x_row = LeadingDimension(s.m, p.x.stride(0), s.k);
  s.w_row = LeadingDimension(s.n, w.stride(0), s.k);
  s.out_row = LeadingDimension(s.m, p.out.stride(0), s.n);
  if (!Complete(s)) return std::nullopt;
  plan.x = p.x.data;
  plan.w = w.data;
  plan.bias = p.bias.data;
  plan.out = p.out.data;
  FillAlignments(plan);
  if (s.has_bias && s.bias_alignment < kBiasAlignment) return std::nullopt;
  return plan;
}

std::optional<GemmPlan> PlanBatchedGemm(const BatchedGemmParams& p) {
  const TensorView& w = p.w.values;
  if (!TypesPair(p.x.dtype, w.dtype, p.out.dtype)) return std::nullopt;
  GemmPlan plan;
  GemmShape& s = plan.shape;
  s.in = p.x.dtype;
  s.out = p.out.dtype;
  s.transposed_w = p.transpose_w;
  s.m = p.x.size(0);
  s.batch = p.x.size(1);
  s.k = p.x.size(2);
  s.n = p.out.size(2);
  s.x_row = LeadingDimension(s.m, p.x.stride(0), s.k);
  s.w_row = LeadingDimension(w.size(1), w.stride(1), w.size(2));
  s.out_row = LeadingDimension(s.m, p.out.stride(0), s.n);
  if (!Complete(s)) return std::nullopt;
  if (s.batch > 1) {
    s.x_batch = p.x.stride(1);
    s.w_batch = w.stride(0);
    s.out_batch = p.out.stride(1);
  }
  plan.x = p.x.data;
  plan.w = w.data;
  plan.out = p.out.data;
  FillAlignments(plan);
  return plan;
}

GenericGemmLaunch ToLaunch(const GemmParams& p) {
  const TensorView& w = p.w.values;
  GenericGemmLaunch launch;
  launch.x = ToView(p.x);
  launch.w = ToView(w);
  launch.out = ToView(p.out);
  launch.has_bias = p.bias.present();
  if (launch.has_bias) launch.bias = ToView(p.bias);
  launch.accumulate = p.accumulate;
  launch.m = p.x.size(0);
  launch.n = w.size(0);
  launch.k = p.x.size(1);
  launch.x_row = p.x.stride(0);
  launch.w_row = w.stride(0);
  launch.out_row = p.out.stride(0);
  return launch;
}

GenericGemmLaunch ToLaunch(const GroupedGemmParams& p) {
  GenericGemmLaunch launch;
  launch.x = ToView(p.x);
  launch.w = ToView(p.w.each.values);
  launch.out = ToView(p.out);
  launch.m = p.x.size(0);
  launch.n = p.out.size(1);
  launch.k = p.x.size(1);
  launch.x_row = p.x.stride(0);
  launch.w_row = p.w.each.values.stride(0);
  launch.out_row = p.out.stride(0);
  launch.expert_start = p.expert_start.as<const int32_t>();
  launch.weights = p.w.values.as<const int64_t>();
  launch.experts = p.w.experts();
  return launch;
}

std::optional<CutlassGroupedLaunch> PlanGroupedGemm(const GroupedGemmParams& p) {
  constexpr int64_t kVector = 8, kLargest = int64_t{1} << 30;  // elements; CUTLASS counts sizes in 32 bits
  const TensorView& w = p.w.each.values;
  const DType dtype = p.x.dtype;
  if ((dtype != DType::kBF16 && dtype != DType::kF16) || w.dtype != dtype || p.out.dtype != dtype) return std::nullopt;
  CutlassGroupedLaunch launch;
  launch.dtype = dtype;
  launch.x = p.x.data;
  launch.out = p.out.data;
  launch.n = p.out.size(1);
  launch.k = p.x.size(1);
  launch.experts = p.w.experts();
  launch.x_row = p.x.stride(0);
  launch.w_row = LeadingDimension(launch.n, w.stride(0), launch.k);
  launch.out_row = p.out.stride(0);
  launch.expert_start = p.expert_start.as<const int32_t>();
  launch.weights = p.w.values.as<const int64_t>();
  if (p.x.size(0) < 1 || launch.n < 1 || launch.k < 1 || launch.experts < 1) return std::nullopt;
  for (int64_t value : {launch.n, launch.k, launch.x_row, launch.w_row, launch.out_row}) {
    if (value % kVector != 0 || value > kLargest) return std::nullopt;
  }
  if (launch.x_row < launch.k || launch.w_row < launch.k || launch.out_row < launch.n) return std::nullopt;
  if (CommonAlignment(launch.x, dtype, 0) < 16 || CommonAlignment(launch.out, dtype, 0) < 16) return std::nullopt;
  return launch;
}

}  // namespace hadal::kernels::cuda
