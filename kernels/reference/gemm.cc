// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {

void Gemm(const GemmParams& p) {
  const TensorView& w = p.w.values;
  const int64_t k = p.x.size(1);
  for (int64_t i = 0; i < p.x.size(0); ++i) {
    for (int64_t j = 0; j < w.size(0); ++j) {
      float sum = 0;
      for (int64_t l = 0; l < k; ++l) sum += Load(p.x, i, l) * Load(w, j, l);
      if (p.bias.present()) sum += LoadAt(p.bias, j);
      if (p.accumulate) sum += Load(p.out, i, j);
      StoreAt(p.out, Offset(p.out, i, j), sum);
    }
  }
}

void BatchedGemm(const BatchedGemmParams& p) {
  const TensorView& w = p.w.values;
  const int64_t k = p.x.size(2);
  for (int64_t t = 0; t < p.x.size(0); ++t) {
    for (int64_t h = 0; h < p.x.size(1); ++h) {
      for (int64_t j = 0; j < p.out.size(2); ++j) {
        float sum = 0;
        for (int64_t l = 0; l < k; ++l) {
          sum += Load(p.x, t, h, l) * (p.transpose_w ? Load(w, h, l, j) : Load(w, h, j, l));
        }
        StoreAt(p.out, Offset(p.out, t, h, j), sum);
      }
    }
  }
}

void GroupedGemm(const GroupedGemmParams& p) {
  const int32_t* start = p.expert_start.as<const int32_t>();
  for (int64_t e = 0; e < p.w.experts(); ++e) {
    if (start[e] == start[e + 1]) continue;
    const int64_t rows = start[e + 1] - start[e];
    Gemm({.x = p.x.Slice(0, start[e], rows), .w = p.w.At(e), .bias = {}, .out = p.out.Slice(0, start[e], rows)});
  }
}

}  // namespace hadal::kernels::reference
