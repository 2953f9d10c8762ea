// SPDX-License-Identifier: Apache-2.0
//
// One block a row. Rows of a half type that are whole vectors lie in registers, eight elements a thread: each tensor is
// read once and written once. Other rows are walked twice.
#include "kernels/cuda/vector.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kMaxRowThreads = 1024;

template <typename T, typename W>
__global__ void RmsNormVectorKernel(RmsNormLaunch p, int vectors) {
  float* scratch = reinterpret_cast<float*>(SharedMemory());
  const int64_t i = blockIdx.x, h = blockIdx.y;
  const int at = ThreadIndex() * kVector;
  const bool active = ThreadIndex() < vectors;
  float values[kVector] = {};
  float squares = 0;
  if (active) {
    const T* x = static_cast<const T*>(p.x.data) + i * p.x.stride[0] + h * p.x.stride[1] + at;
    Load8(x).Unpack(values);
    if (p.has_residual) {
      T* residual = static_cast<T*>(p.residual.data) + i * p.residual.stride[0] + h * p.residual.stride[1] + at;
      float added[kVector];
      Load8(residual).Unpack(added);
      for (int j = 0; j < kVector; ++j) values[j] = added[j] + values[j];
      Packed<T> sum;
      sum.Pack(values);
      Store8(residual, sum);
    }
    for (int j = 0; j < kVector; ++j) squares += values[j] * values[j];
  }
  if (!p.has_out) return;  // the same for all threads
  squares = BlockSum(squares, scratch);
  if (!active) return;
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(p.x.size[2]) + p.eps);
  for (int j = 0; j < kVector; ++j) values[j] *= scale;
  if (p.has_weight) {
    float weights[kVector];
    Load8(static_cast<const W*>(p.weight.data) + at).Unpack(weights);
    if (!p.float32_product) Packed<T>().Pack(values);
    for (int j = 0; j < kVector; ++j) values[j] *= weights[j];
  }
  Packed<T> result;
  result.Pack(values);
  Store8(static_cast<T*>(p.out.data) + i * p.out.stride[0] + h * p.out.stride[1] + at, result);
}

// Each thread reads in the second pass only elements that it alone wrote, so out may be x.
__global__ void RmsNormKernel(RmsNormLaunch p) {
  float* scratch = reinterpret_cast<float*>(SharedMemory());
  const int64_t dim = p.x.size[2], i = blockIdx.x, h = blockIdx.y;
  const int64_t x_row = i * p.x.stride[0] + h * p.x.stride[1];
  const int64_t residual_row = i * p.residual.stride[0] + h * p.residual.stride[1];
  const int64_t out_row = i * p.out.stride[0] + h * p.out.stride[1];
  float squares = 0;
  for (int64_t j = threadIdx.x; j < dim; j += blockDim.x) {
    float value = LoadAt(p.x, x_row + j);
    if (p.has_residual) {
      StoreAt(p.residual, residual_row + j, LoadAt(p.residual, residual_row + j) + value);
      value = LoadAt(p.residual, residual_row + j);
    }
    squares += value * value;
  }
  if (!p.has_out) return;  // the same for all threads
  squares = BlockReduce(squares, scratch, Add());
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(dim) + p.eps);
  for (int64_t j = threadIdx.x; j < dim; j += blockDim.x) {
    const float value = p.has_residual ? LoadAt(p.residual, residual_row + j) : LoadAt(p.x, x_row + j);
    float result = value * scale;
    if (p.has_weight) {
      result = LoadAt(p.weight, j) * (p.float32_product ? result : RoundTo(p.x.dtype, result));
    }
    StoreAt(p.out, out_row + j, result);
  }
}

// x, residual and out of one half type, the weight of that type or f32.
bool TakesVectors(const RmsNormLaunch& p) {
  const int64_t dim = p.x.size[2];
  const DType dtype = p.x.dtype;
  if (dtype == DType::kF32 || dim > kMaxRowThreads * kVector || !WholeVectors(p.x, dim)) return false;
  if (p.has_residual && (p.residual.dtype != dtype || !WholeVectors(p.residual, dim))) return false;
  if (p.has_out && (p.out.dtype != dtype || !WholeVectors(p.out, dim))) return false;
  if (!p.has_out || !p.has_weight) return true;
  return (p.weight.dtype == dtype || p.weight.dtype == DType::kF32) && Aligned(p.weight.data);
}

template <typename T>
int RunVectors(Stream stream, const RmsNormLaunch& p, Grid grid) {
  const int vectors = static_cast<int>(p.x.size[2] / kVector);
  const int threads = (vectors + kWarp - 1) / kWarp * kWarp;
  const int64_t shared = threads / kWarp * int64_t{sizeof(float)};
  return p.weight.dtype == DType::kF32
             ? Launch(stream, RmsNormVectorKernel<T, float>, grid, threads, shared, p, vectors)
             : Launch(stream, RmsNormVectorKernel<T, T>, grid, threads, shared, p, vectors);
}

}  // namespace

int LaunchRmsNorm(Stream stream, const RmsNormLaunch& p) {
  const Grid grid(p.x.size[0], p.x.size[1]);
  if (TakesVectors(p)) {
    return p.x.dtype == DType::kBF16 ? RunVectors<__nv_bfloat16>(stream, p, grid) : RunVectors<__half>(stream, p, grid);
  }
  return Launch(stream, RmsNormKernel, grid, kThreads, kThreads * int64_t{sizeof(float)}, p);
}

}  // namespace hadal::kernels::cuda
