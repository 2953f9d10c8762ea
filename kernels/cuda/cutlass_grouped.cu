// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cutlass_grouped.h"

#include <cutlass/cutlass.h>
#include <cutlass/epilogue/thread/linear_combination.h>
#include <cutlass/gemm/device/gemm_grouped.h>
#include <cutlass/gemm/kernel/default_gemm_grouped.h>

#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

// CUTLASS's lists, one entry an expert.
struct Lists {
  int64_t *x, *w, *out;  // addresses
  int64_t *x_row, *w_row, *out_row;
  int32_t* sizes;  // m, n, k
};

Lists ListsIn(void* workspace, int64_t experts) {
  auto* base = static_cast<int64_t*>(workspace);
  Lists lists;
  lists.x = base;
  lists.w = base + experts;
  lists.out = base + 2 * experts;
  lists.x_row = base + 3 * experts;
  lists.w_row = base + 4 * experts;
  lists.out_row = base + 5 * experts;
  lists.sizes = reinterpret_cast<int32_t*>(base + 6 * experts);
  return lists;
}

__global__ void FillListsKernel(CutlassGroupedLaunch p, Lists lists) {
  HADAL_GRID_STRIDE(e, p.experts) {
    const int64_t first = p.expert_start[e], rows = p.expert_start[e + 1] - first;
    const int64_t element_bytes = 2;  // bf16, f16
    if (rows > 0 && p.weights[e] % 16 != 0) __trap();  // the contract's alignment; surfaces as a device failure
    lists.x[e] = reinterpret_cast<int64_t>(p.x) + first * p.x_row * element_bytes;
    lists.w[e] = p.weights[e];
    lists.out[e] = reinterpret_cast<int64_t>(p.out) + first * p.out_row * element_bytes;
    lists.x_row[e] = p.x_row;
    lists.w_row[e] = p.w_row;
    lists.out_row[e] = p.out_row;
    lists.sizes[3 * e] = static_cast<int32_t>(rows);
    lists.sizes[3 * e + 1] = static_cast<int32_t>(p.n);
    lists.sizes[3 * e + 2] = static_cast<int32_t>(p.k);
  }
}

// out [rows, n] = x [rows, k] * w^T, w [n, k] row-major, which is [k, n] column-major.
template <typename T>
int Run(cudaStream_t stream, const CutlassGroupedLaunch& p, const Lists& lists) {
  using Kernel = typename cutlass::gemm::kernel::DefaultGemmGrouped<
      T, cutlass::layout::RowMajor, cutlass::ComplexTransform::kNone, 8,     //
      T, cutlass::layout::ColumnMajor, cutlass::ComplexTransform::kNone, 8,  //
      T, cutlass::layout::RowMajor, float, cutlass::arch::OpClassTensorOp, cutlass::arch::Sm80,
      cutlass::gemm::GemmShape<128, 128, 32>, cutlass::gemm::GemmShape<64, 64, 32>, cutlass::gemm::GemmShape<16, 8, 16>,
      cutlass::epilogue::thread::LinearCombination<T, 8, float, float>,
      cutlass::gemm::threadblock::GemmBatchedIdentityThreadblockSwizzle, /*stages=*/4>::GemmKernel;
  using Grouped = cutlass::gemm::device::GemmGrouped<Kernel>;
  const int blocks = Grouped::sufficient();
  if (blocks <= 0) return cudaErrorInvalidConfiguration;
  typename Kernel::Epilogue::OutputOp::Params epilogue(1.0f, 0.0f);
  typename Grouped::Arguments arguments(
      reinterpret_cast<cutlass::gemm::GemmCoord*>(lists.sizes), static_cast<int>(p.experts), blocks, epilogue,
      reinterpret_cast<T**>(lists.x), reinterpret_cast<T**>(lists.w), reinterpret_cast<T**>(lists.out),
      reinterpret_cast<T**>(lists.out), lists.x_row, lists.w_row, lists.out_row, lists.out_row);
  Grouped grouped;
  if (grouped.initialize(arguments, /*workspace=*/nullptr, stream) != cutlass::Status::kSuccess) {
    const cudaError_t error = cudaGetLastError();
    return error != cudaSuccess ? error : cudaErrorNotSupported;
  }
  if (grouped.run(stream) != cutlass::Status::kSuccess) {
    const cudaError_t error = cudaGetLastError();
    return error != cudaSuccess ? error : cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

}  // namespace

bool HaveCutlass() { return true; }

int LaunchCutlassGrouped(Stream stream, const CutlassGroupedLaunch& p) {
  static_assert(sizeof(cutlass::gemm::GemmCoord) == 3 * sizeof(int32_t));
  const Lists lists = ListsIn(p.workspace, p.experts);
  if (int error = Launch(stream, FillListsKernel, GridStrideBlocks(p.experts), kThreads, 0, p, lists); error != 0) return error;
  const auto native = static_cast<cudaStream_t>(stream);
  return p.dtype == DType::kBF16 ? Run<cutlass::bfloat16_t>(native, p, lists) : Run<cutlass::half_t>(native, p, lists);
}

}  // namespace hadal::kernels::cuda
