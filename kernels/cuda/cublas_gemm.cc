// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cublas_gemm.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"

namespace hadal::kernels::cuda {

absl::Status CublasError(int code, const char* call, const char* file, int line) {
  const char* tail = std::strstr(file, "kernels/cuda/");
  const char* name = cublasLtGetStatusString(static_cast<cublasStatus_t>(code));
  const std::string text =
      absl::StrCat("cublasLt: ", call, ": ", name, " (", tail != nullptr ? tail : file, ":", line, ")");
  return code == CUBLAS_STATUS_ALLOC_FAILED ? absl::ResourceExhaustedError(text) : absl::InternalError(text);
}

namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what cuBLAS recommends for Hopper
constexpr size_t kMaxRemembered = 8192;

cudaDataType_t NativeType(DType dtype) {
  if (dtype == DType::kBF16) return CUDA_R_16BF;
  return dtype == DType::kF16 ? CUDA_R_16F : CUDA_R_32F;
}

// Owns a cuBLASLt object that is made by a Create function and destroyed by another.
template <typename T, cublasStatus_t (*destroy)(T)>
class Owned {
 public:
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (value_ != nullptr) destroy(value_);
  }
  T* address() { return &value_; }
  T get() const { return value_; }

 private:
  T value_ = nullptr;
};
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// cuBLASLt counts in columns: out^T [n, m] = op(w) [n, k] * x^T [k, m].
struct Descriptors {
  Operation operation;
  Layout w, x, out;
};

absl::Status MakeLayout(Layout& layout, DType dtype, int64_t rows, int64_t columns, int64_t leading, int64_t batch,
                        int64_t stride) {
  HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatrixLayoutCreate(
      layout.address(), NativeType(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), leading));
  if (batch > 1) {
    const int32_t count = static_cast<int32_t>(batch);
    HADAL_CUBLAS_RETURN_IF_ERROR(
        cublasLtMatrixLayoutSetAttribute(layout.get(), CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)));
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatrixLayoutSetAttribute(
        layout.get(), CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride)));
  }
  return absl::OkStatus();
}

absl::Status Describe(const GemmPlan& plan, Descriptors& d) {
  const GemmShape& s = plan.shape;
  HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulDescCreate(d.operation.address(), CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t w_operation = s.transposed_w ? CUBLAS_OP_N : CUBLAS_OP_T;
  HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_TRANSA,
                                                              &w_operation, sizeof(w_operation)));
  if (s.has_bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t type = NativeType(s.out);
    HADAL_CUBLAS_RETURN_IF_ERROR(
        cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue)));
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                                &plan.bias, sizeof(plan.bias)));
    HADAL_CUBLAS_RETURN_IF_ERROR(
        cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof(type)));
  }
  const int64_t w_rows = s.transposed_w ? s.n : s.k, w_columns = s.transposed_w ? s.k : s.n;
  if (absl::Status status = MakeLayout(d.w, s.in, w_rows, w_columns, s.w_row, s.batch, s.w_batch); !status.ok())
    return status;
  if (absl::Status status = MakeLayout(d.x, s.in, s.k, s.m, s.x_row, s.batch, s.x_batch); !status.ok()) return status;
  return MakeLayout(d.out, s.out, s.n, s.m, s.out_row, s.batch, s.out_batch);
}

absl::Status SetPreference(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
                           const auto& value) {
  HADAL_CUBLAS_RETURN_IF_ERROR(
      cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)));
  return absl::OkStatus();
}

class LtGemm final : public CublasGemm {
 public:
  explicit LtGemm(Stream stream) : stream_(static_cast<cudaStream_t>(stream)) {}
  ~LtGemm() override {
    if (workspace_ != nullptr) cudaFree(workspace_);
    if (handle_ != nullptr) cublasLtDestroy(handle_);
  }

  absl::Status Open() {
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtCreate(&handle_));
    HADAL_CUDA_RETURN_IF_ERROR(cudaMalloc(&workspace_, kWorkspaceBytes));
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Run(const GemmPlan& plan) override {
    Descriptors d;
    if (absl::Status s = Describe(plan, d); !s.ok()) return s;
    auto found = algorithms_.find(plan.shape);
    if (found == algorithms_.end()) {
      absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> chosen = Choose(plan.shape, d);
      if (!chosen.ok()) return chosen.status();
      if (algorithms_.size() >= kMaxRemembered) algorithms_.clear();
      found = algorithms_.emplace(plan.shape, *std::move(chosen)).first;
    }
    if (!found->second.has_value()) return false;
    const float alpha = 1.0f, beta = plan.shape.accumulate ? 1.0f : 0.0f;
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmul(handle_, d.operation.get(), &alpha, plan.w, d.w.get(), plan.x,
                                                d.x.get(), &beta, plan.out, d.out.get(), plan.out, d.out.get(),
                                                &*found->second, workspace_, kWorkspaceBytes, stream_));
    return true;
  }

 private:
  absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> Choose(const GemmShape& s, const Descriptors& d) {
    Preference preference;
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulPreferenceCreate(preference.address()));
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    for (const absl::Status& status :
         {SetPreference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(s.w_alignment)),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(s.x_alignment)),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(s.out_alignment)),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                        static_cast<uint32_t>(s.out_alignment))}) {
      if (!status.ok()) return status;
    }
    cublasLtMatmulHeuristicResult_t result = {};
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, d.operation.get(), d.w.get(), d.x.get(), d.out.get(), d.out.get(),
                                       preference.get(), 1, &result, &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
      return std::optional<cublasLtMatmulAlgo_t>();
    }
    HADAL_CUBLAS_RETURN_IF_ERROR(status);
    if (count == 0 || result.state != CUBLAS_STATUS_SUCCESS) return std::optional<cublasLtMatmulAlgo_t>();
    return std::optional<cublasLtMatmulAlgo_t>(result.algo);
  }

  cudaStream_t stream_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<GemmShape, std::optional<cublasLtMatmulAlgo_t>> algorithms_;  // none: not supported
};

}  // namespace

absl::StatusOr<std::unique_ptr<CublasGemm>> CublasGemm::Create(Stream stream) {
  auto gemm = std::make_unique<LtGemm>(stream);
  if (absl::Status s = gemm->Open(); !s.ok()) return s;
  return std::unique_ptr<CublasGemm>(std::move(gemm));
}

}  // namespace hadal::kernels::cuda
