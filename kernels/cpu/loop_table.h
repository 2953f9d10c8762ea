// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matrix_loops.h"
#include "kernels/cpu/row_loops.h"

namespace hadal::kernels::cpu {

// The loops over vector type V as a table, with Products::Of<W> (matrix_loops.h) for products of float32 with weights
// of type W. Products of bf16 with bf16 are left to them. Both arguments are types and local to a file, and so is what
// is instantiated with them; an alias template as an argument would not do that.
template <typename V, typename Products>
constexpr KernelTable LoopTable() {
  return {
      .to_f32 = RowLoops<V>::ToF32,
      .from_f32 = RowLoops<V>::FromF32,
      .sum_squares = RowLoops<V>::SumSquares,
      .max = RowLoops<V>::Max,
      .exp_sum = RowLoops<V>::ExpSum,
      .scale = RowLoops<V>::Scale,
      .mul = RowLoops<V>::Mul,
      .add = RowLoops<V>::Add,
      .axpy = RowLoops<V>::Axpy,
      .silu_mul = RowLoops<V>::SiluMul,
      .gemm_nt = DotLoops<typename Products::template Of<float>>::Run,
      .gemm_nn = OuterLoops<V>::Run,
      .gemm_f32 = GemmF32<Products>,
      .gemm_bf16 = nullptr,
  };
}

}  // namespace hadal::kernels::cpu
