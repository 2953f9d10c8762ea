// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cublas_gemm.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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

constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;  // what cuBLAS recommends for Hopper
constexpr size_t kMaxRemembered = 8192;
constexpr int kCandidates = 32;  // algorithms to look at when not the first will do
static_assert(AlgorithmTuner::kCandidates <= kCandidates);
constexpr int kTimedRuns = 4;  // of each candidate, the first of them unseen
// A batch-invariant algorithm must take these: one row, rows around the sizes of tiles, a long prompt.
constexpr int64_t kTriedRows[] = {1, 2, 7, 16, 17, 63, 64, 65, 127, 128, 129, 256, 1000, 8192};

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

absl::Status Describe(const GemmShape& s, const void* bias, int32_t multiprocessors, Descriptors& d) {
  HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulDescCreate(d.operation.address(), CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t w_operation = s.transposed_w ? CUBLAS_OP_N : CUBLAS_OP_T;
  HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_TRANSA,
                                                              &w_operation, sizeof(w_operation)));
  if (multiprocessors > 0) {
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET,
                                                                &multiprocessors, sizeof(multiprocessors)));
  }
  if (s.has_bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t type = NativeType(s.out);
    HADAL_CUBLAS_RETURN_IF_ERROR(
        cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue)));
    HADAL_CUBLAS_RETURN_IF_ERROR(
        cublasLtMatmulDescSetAttribute(d.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias)));
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

// What cuBLASLt says of a product that it does not take; nothing was queued then. Another code is a failure.
bool Refuses(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE ||
         status == CUBLAS_STATUS_ARCH_MISMATCH || status == CUBLAS_STATUS_INTERNAL_ERROR;
}

absl::Status Refusal(const char* call, cublasStatus_t status) {
  cudaGetLastError();  // what the library has tried is none of the next launch's business
  return absl::UnimplementedError(absl::StrCat(call, ": ", cublasLtGetStatusString(status)));
}

// Every sum is made by one block, in one go.
absl::StatusOr<bool> SumsInOnePiece(const cublasLtMatmulAlgo_t& algorithm) {
  int32_t splits = 0;
  uint32_t reduction = 0;
  size_t written = 0;
  HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
                                                                    &splits, sizeof(splits), &written));
  HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                                    &reduction, sizeof(reduction), &written));
  return splits <= 1 && reduction == CUBLASLT_REDUCTION_SCHEME_NONE;
}

cublasLtMatmulAlgo_t ToNative(const LtAlgorithm& algorithm) {
  static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(LtAlgorithm));
  return std::bit_cast<cublasLtMatmulAlgo_t>(algorithm);
}

class LtGemm final : public CublasGemm {
 public:
  LtGemm(Stream stream, const Options& options)
      : stream_(static_cast<cudaStream_t>(stream)),
        batch_invariant_(options.batch_invariant),
        workspace_bytes_(static_cast<size_t>(WorkspaceBytes(options.batch_invariant))),
        workspace_(options.workspace),
        multiprocessors_(static_cast<int32_t>(options.multiprocessors)),
        tuner_(options.batch_invariant ? nullptr : options.tuner) {}
  ~LtGemm() override {
    for (cudaEvent_t event : {started_, ended_}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    if (handle_ != nullptr) cublasLtDestroy(handle_);
  }

  absl::Status Open() {
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtCreate(&handle_));
    if (tuner_ == nullptr) return absl::OkStatus();
    HADAL_CUDA_RETURN_IF_ERROR(cudaEventCreate(&started_));
    HADAL_CUDA_RETURN_IF_ERROR(cudaEventCreate(&ended_));
    return absl::OkStatus();
  }

  absl::Status Run(const GemmPlan& plan) override {
    const GemmShape key = batch_invariant_ ? ForAnyRows(plan.shape) : plan.shape;
    auto found = algorithms_.find(key);
    if (found == algorithms_.end()) {
      absl::StatusOr<cublasLtMatmulAlgo_t> chosen = Choose(key, plan);
      if (!chosen.ok() && !absl::IsUnimplemented(chosen.status())) return chosen.status();
      if (algorithms_.size() >= kMaxRemembered) algorithms_.clear();
      found = algorithms_.emplace(key, std::move(chosen)).first;
    }
    if (!found->second.ok()) return found->second.status();
    Descriptors d;
    if (absl::Status s = Describe(plan.shape, plan.bias, multiprocessors_, d); !s.ok()) return s;
    const cublasStatus_t ran = Multiply(plan, d, *found->second);
    if (Refuses(ran) && !batch_invariant_) return (found->second = Refusal("cublasLtMatmul", ran)).status();
    HADAL_CUBLAS_RETURN_IF_ERROR(ran);
    return absl::OkStatus();
  }

 private:
  cublasStatus_t Multiply(const GemmPlan& plan, const Descriptors& d, const cublasLtMatmulAlgo_t& algorithm) {
    const float alpha = 1.0f, beta = plan.shape.accumulate ? 1.0f : 0.0f;
    return cublasLtMatmul(handle_, d.operation.get(), &alpha, plan.w, d.w.get(), plan.x, d.x.get(), &beta, plan.out,
                          d.out.get(), plan.out, d.out.get(), &algorithm, workspace_, workspace_bytes_, stream_);
  }

  bool Takes(const cublasLtMatmulAlgo_t& algorithm, const Descriptors& d) {
    cublasLtMatmulHeuristicResult_t result = {};
    const cublasStatus_t checked = cublasLtMatmulAlgoCheck(handle_, d.operation.get(), d.w.get(), d.x.get(),
                                                           d.out.get(), d.out.get(), &algorithm, &result);
    return checked == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= workspace_bytes_;
  }

  // Least of a few runs on the operands themselves, whose result the next run writes again. In between most of the
  // cache is written over, since a step finds its weights in memory.
  std::optional<double> Time(const GemmPlan& plan, const Descriptors& d, const cublasLtMatmulAlgo_t& algorithm) {
    float least_ms = std::numeric_limits<float>::infinity();
    for (int run = 0; run < kTimedRuns; ++run) {
      float ms = 0;
      if (cudaMemsetAsync(workspace_, 0, workspace_bytes_, stream_) != cudaSuccess ||
          cudaEventRecord(started_, stream_) != cudaSuccess || Multiply(plan, d, algorithm) != CUBLAS_STATUS_SUCCESS ||
          cudaEventRecord(ended_, stream_) != cudaSuccess || cudaEventSynchronize(ended_) != cudaSuccess ||
          cudaEventElapsedTime(&ms, started_, ended_) != cudaSuccess) {
        cudaGetLastError();  // of this algorithm; what broke the device, the product itself will say
        return std::nullopt;
      }
      if (run > 0) least_ms = std::min(least_ms, ms);
    }
    return least_ms * 1e3;
  }

  // A product that adds to its output cannot run twice, and launches that are recorded do not run.
  bool Timeable(const GemmPlan& plan) const {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    return tuner_ != nullptr && !plan.shape.accumulate && cudaStreamIsCapturing(stream_, &capture) == cudaSuccess &&
           capture == cudaStreamCaptureStatusNone;
  }

  // What an earlier start has found, if the library still takes it.
  std::optional<cublasLtMatmulAlgo_t> Kept(const GemmShape& s, const Descriptors& d) {
    const LtAlgorithm* kept = tuner_ != nullptr ? tuner_->Find(s) : nullptr;
    if (kept == nullptr) return std::nullopt;
    const cublasLtMatmulAlgo_t algorithm = ToNative(*kept);
    if (Takes(algorithm, d)) return algorithm;
    tuner_->Forget(s);
    return std::nullopt;
  }

  // Unimplemented when there is none.
  absl::StatusOr<cublasLtMatmulAlgo_t> Choose(const GemmShape& s, const GemmPlan& plan) {
    Descriptors d;
    if (absl::Status status = Describe(s, plan.bias, multiprocessors_, d); !status.ok()) return status;
    if (const std::optional<cublasLtMatmulAlgo_t> kept = Kept(s, d); kept.has_value()) return *kept;
    Preference preference;
    HADAL_CUBLAS_RETURN_IF_ERROR(cublasLtMatmulPreferenceCreate(preference.address()));
    const uint32_t reductions =
        batch_invariant_ ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    for (const absl::Status& status :
         {SetPreference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(s.w_alignment)),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(s.x_alignment)),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(s.out_alignment)),
          SetPreference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                        static_cast<uint32_t>(s.out_alignment))}) {
      if (!status.ok()) return status;
    }
    cublasLtMatmulHeuristicResult_t results[kCandidates] = {};
    int count = 0;
    const bool timeable = Timeable(plan);
    const int several = timeable && tuner_->timing() ? AlgorithmTuner::kCandidates : 1;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, d.operation.get(), d.w.get(), d.x.get(), d.out.get(), d.out.get(),
                                       preference.get(), batch_invariant_ ? kCandidates : several, results, &count);
    if (Refuses(status)) return Refusal("cublasLtMatmulAlgoGetHeuristic", status);
    HADAL_CUBLAS_RETURN_IF_ERROR(status);
    std::vector<LtAlgorithm> candidates;
    for (int i = 0; i < count; ++i) {
      if (results[i].state != CUBLAS_STATUS_SUCCESS) continue;
      const absl::StatusOr<bool> good = batch_invariant_ ? Invariant(results[i].algo, s, plan.bias) : true;
      if (!good.ok()) return good.status();
      if (!*good) continue;
      candidates.push_back(std::bit_cast<LtAlgorithm>(results[i].algo));
      if (batch_invariant_) break;
    }
    if (candidates.empty()) {
      return absl::UnimplementedError(batch_invariant_ ? "no algorithm adds in one order for every number of rows"
                                                       : "no algorithm");
    }
    if (!timeable) return ToNative(candidates.front());
    return ToNative(candidates[tuner_->Choose(
        s, candidates, [&](const LtAlgorithm& candidate) { return Time(plan, d, ToNative(candidate)); })]);
  }

  absl::StatusOr<bool> Invariant(const cublasLtMatmulAlgo_t& algorithm, GemmShape s, const void* bias) {
    if (absl::StatusOr<bool> whole = SumsInOnePiece(algorithm); !whole.ok() || !*whole) return whole;
    for (int64_t rows : kTriedRows) {
      s.m = rows;
      Descriptors d;
      if (absl::Status status = Describe(s, bias, multiprocessors_, d); !status.ok()) return status;
      if (!Takes(algorithm, d)) return false;
    }
    return true;
  }

  cudaStream_t stream_;
  bool batch_invariant_;
  size_t workspace_bytes_;
  void* workspace_;
  int32_t multiprocessors_;
  AlgorithmTuner* tuner_;
  cudaEvent_t started_ = nullptr, ended_ = nullptr;
  cublasLtHandle_t handle_ = nullptr;
  std::map<GemmShape, absl::StatusOr<cublasLtMatmulAlgo_t>> algorithms_;  // or why there is none
};

}  // namespace

int64_t CublasGemm::WorkspaceBytes(bool batch_invariant) { return batch_invariant ? 0 : kWorkspaceBytes; }

int64_t CublasGemm::Version() { return static_cast<int64_t>(cublasLtGetVersion()); }

absl::StatusOr<std::unique_ptr<CublasGemm>> CublasGemm::Create(Stream stream, const Options& options) {
  auto gemm = std::make_unique<LtGemm>(stream, options);
  if (absl::Status s = gemm->Open(); !s.ok()) return s;
  return std::unique_ptr<CublasGemm>(std::move(gemm));
}

}  // namespace hadal::kernels::cuda
