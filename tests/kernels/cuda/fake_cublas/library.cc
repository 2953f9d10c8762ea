// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/cuda/fake_cublas/library.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"
#include "kernels/half.h"

using hadal::kernels::BF16;
using hadal::kernels::F16;
using hadal::kernels::cuda::TheCublas;

struct FakeHandle {};
struct FakeStream {};
struct FakeEvent {
  float at_ms = 0;
};
struct FakeOperation {
  cublasOperation_t transposed_a = CUBLAS_OP_N;
  int32_t multiprocessors = 0;
  bool has_bias = false;
  const void* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_32F;
};
struct FakeLayout {
  cudaDataType_t type;
  int64_t rows, columns, leading;
  int32_t batch = 1;
  int64_t stride = 0;
};
struct FakePreference {
  size_t workspace_bytes = 0;
};

namespace hadal::kernels::cuda {

FakeCublas& TheCublas() {
  static FakeCublas library;
  return library;
}

absl::Status CudaError(int code, const char* call, const char*, int) {
  return absl::InternalError(absl::StrCat("cuda: ", call, ": ", code));
}

}  // namespace hadal::kernels::cuda

namespace {

template <typename T, typename... Args>
cublasStatus_t Make(T** object, Args... args) {
  ++TheCublas().objects;
  *object = new T{args...};
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
cublasStatus_t Drop(T* object) {
  --TheCublas().objects;
  delete object;
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
cublasStatus_t Take(T& field, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

float Load(const void* data, cudaDataType_t type, int64_t at) {
  if (type == CUDA_R_16BF) return ToFloat(static_cast<const BF16*>(data)[at]);
  return type == CUDA_R_16F ? ToFloat(static_cast<const F16*>(data)[at]) : static_cast<const float*>(data)[at];
}

void Store(void* data, cudaDataType_t type, int64_t at, float value) {
  if (type == CUDA_R_16BF) {
    static_cast<BF16*>(data)[at] = hadal::kernels::FromFloat<BF16>(value);
  } else if (type == CUDA_R_16F) {
    static_cast<F16*>(data)[at] = hadal::kernels::FromFloat<F16>(value);
  } else {
    static_cast<float*>(data)[at] = value;
  }
}

// D = op(A) B by columns: sizes and leading dimensions that belong together.
bool Fit(const FakeOperation& o, const FakeLayout& a, const FakeLayout& b, const FakeLayout& d) {
  const bool transposed = o.transposed_a == CUBLAS_OP_T;
  const int64_t rows = transposed ? a.columns : a.rows, inner = transposed ? a.rows : a.columns;
  return rows == d.rows && inner == b.rows && b.columns == d.columns && a.leading >= a.rows && b.leading >= b.rows &&
         d.leading >= d.rows && a.batch == b.batch && b.batch == d.batch && a.type == b.type;
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "not supported";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "execution failed";
    default:
      return "another status";
  }
}
size_t cublasLtGetVersion() { return 130000; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return Make(handle); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return Drop(handle); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t, cudaDataType_t scale) {
  return scale == CUDA_R_32F ? Make(operation) : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) { return Drop(operation); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return Take(operation->transposed_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET:
      return Take(operation->multiprocessors, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      operation->has_bias = true;
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return Take(operation->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return Take(operation->bias_type, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  return Make(layout, type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), leading);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return Drop(layout); }
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) return Take(layout->batch, value, bytes);
  return Take(layout->stride, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) { return Make(preference); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) { return Drop(preference); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return Take(preference->workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return Take(TheCublas().reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return Take(TheCublas().w_alignment, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return Take(TheCublas().x_alignment, value, bytes);
    default:
      return Take(TheCublas().out_alignment, value, bytes);
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  ++TheCublas().heuristics;
  if (!Fit(*operation, *a, *b, *d) || c != d) return CUBLAS_STATUS_INVALID_VALUE;
  *found = std::min(wanted, TheCublas().algorithms);
  for (int i = 0; i < *found; ++i) {
    results[i] = {};
    results[i].algo.data[0] = static_cast<uint64_t>(i);
  }
  return TheCublas().heuristic;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulHeuristicResult_t* result) {
  ++TheCublas().checks;
  result->workspaceSize = 0;
  if (!Fit(*operation, *a, *b, *d)) return CUBLAS_STATUS_INVALID_VALUE;
  return TheCublas().unfit.contains(algorithm->data[0]) ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
                                                    size_t bytes, size_t* written) {
  const bool splits = TheCublas().splitting.contains(algorithm->data[0]);
  const int32_t answer = attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? (splits ? 4 : 1) : 0;
  *written = sizeof(answer);
  std::memcpy(value, &answer, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t) {
  auto& library = TheCublas();
  ++library.products;
  library.algorithm = algorithm->data[0];
  library.workspace = workspace;
  library.workspace_bytes = workspace_bytes;
  library.multiprocessors = operation->multiprocessors;
  const FakeLayout &la = *a_layout, &lb = *b_layout, &ld = *d_layout;
  if (!Fit(*operation, la, lb, ld) || c != d) return CUBLAS_STATUS_INVALID_VALUE;
  if (const auto no = library.refused.find(algorithm->data[0]); no != library.refused.end()) return no->second;
  const auto ms = library.ms.find(algorithm->data[0]);
  library.now_ms += ms != library.ms.end() ? ms->second : 1.0f;
  const bool transposed = operation->transposed_a == CUBLAS_OP_T;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  for (int64_t n = 0; n < ld.batch; ++n) {
    for (int64_t j = 0; j < ld.columns; ++j) {
      for (int64_t i = 0; i < ld.rows; ++i) {
        float sum = 0;
        for (int64_t l = 0; l < lb.rows; ++l) {
          const int64_t at = transposed ? l + i * la.leading : i + l * la.leading;
          sum += Load(a, la.type, n * la.stride + at) * Load(b, lb.type, n * lb.stride + l + j * lb.leading);
        }
        sum *= scale;
        if (operation->has_bias) sum += Load(operation->bias, operation->bias_type, i);
        const int64_t at = n * ld.stride + i + j * ld.leading;
        if (keep != 0) sum += keep * Load(d, ld.type, at);
        Store(d, ld.type, at, sum);
      }
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

cudaError_t cudaGetLastError() {
  ++TheCublas().errors_taken;
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t) {
  std::memset(target, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return static_cast<cudaError_t>(Make(event)); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return static_cast<cudaError_t>(Drop(event)); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->at_ms = TheCublas().now_ms;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  *ms = to->at_ms - from->at_ms;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = TheCublas().capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
