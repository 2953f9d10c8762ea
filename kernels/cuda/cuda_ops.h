// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "kernels/cuda/algorithm_tuner.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/cublas_gemm.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_readback.h"
#include "kernels/cuda/flash_attention.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/gemv_plan.h"
#include "kernels/cuda/graph_cache.h"
#include "kernels/cuda/sample_rows.h"
#include "kernels/cuda/step_area.h"

namespace hadal::kernels::cuda {

// The ops on one device: turns parameters into launches. Each method chooses the kernel and fills its launch
// description; the kernels lie behind launch.h. Bodies: cuda_dense_ops.cc, cuda_attention_ops.cc, cuda_moe_ops.cc,
// cuda_sample_op.cc, cuda_step.cc.
class CudaBackend final : public CudaDevice {
 public:
  absl::Status Start(const Options& options);
  ~CudaBackend() override;

  BackendCounters Counters() const override;
  absl::StatusOr<std::unique_ptr<Readback>> MakeReadback(int64_t bytes) override {
    return MakeCudaReadback(*this, bytes);
  }
  void BeginWarmUp() override;
  void EndWarmUp() override;
  int64_t ScratchBytes(const StepBounds& bounds) const override;
  absl::Status Reserve(const StepBounds& bounds) override;
  int64_t ListBytes(const StepBounds& bounds) const override;
  absl::Status BeginStep(const StepLists& lists) override;
  // Also when graphs are switched off: the steps keep their form, so that both ways can be compared.
  bool ReplaysSteps() const override { return true; }
  absl::Status Replay(absl::Span<const int64_t> key, absl::FunctionRef<absl::Status()> issue) override;

 protected:
#define HADAL_DECLARE_OP(Op) absl::Status Do##Op(const Op##Params& params) override;
  HADAL_FOR_EACH_OP(HADAL_DECLARE_OP)
  HADAL_FOR_EACH_FUSED_OP(HADAL_DECLARE_OP)
#undef HADAL_DECLARE_OP

 private:
  // Runs a launcher on this device; a failure names the op.
  template <typename Launcher>
  absl::Status Queue(Launcher launcher, const char* op) {
    if (absl::Status s = Enter(); !s.ok()) return RecordError(s);
    const int error = launcher();
    return error == 0 ? absl::OkStatus()
                      : RecordError(CudaError(error, absl::StrCat("launch of ", op).c_str(), __FILE__, __LINE__));
  }

  // Nothing: the kernel for few rows does not take this product.
  std::optional<GemvPlan> TryGemv(const GenericGemmLaunch& launch) const;
  // A count on the device that kernels find and leave at 0. Taken by Reserve where there are experts.
  absl::StatusOr<unsigned*> EndedBlocks();
  // False: cuBLASLt does not take this product.
  absl::StatusOr<bool> TryCublas(const std::optional<GemmPlan>& plan);
  // Counts a product that the generic kernel has to take over; the log hears of each weight's shape once.
  void NoteRefusal(const GemmShape& shape, const absl::Status& why);
  absl::Status Attend(const char* op, const AttentionLaunch& launch);
  // A warm-up compares each kind of call of FlashInfer's kernels for Hopper with the generic kernel, which has never
  // the same fault. True: it need not, or they agree, and `out` is right.
  absl::StatusOr<bool> AgreesWithGeneric(const char* op, const TensorView& out, AttentionLaunch generic);
  // Does without such a kernel from now on, and says why.
  void DropHopper(const char* op, absl::string_view why);
  // What FlashInfer's kernel for Hopper is not used for, as if it took no memory.
  StepBounds Bounded(StepBounds bounds) const;
  // Where the lists of sampled rows lie on the device.
  struct PlacedRows {
    const SampleRow* rows = nullptr;
    const SampleToken* tokens = nullptr;
    const uint32_t* mask_words = nullptr;
  };

  // Puts the lists of a step's rows into the area, as far as there is room.
  void PlaceSampleRows(absl::Span<const SampleRowParams> rows, int64_t vocab);
  // The lists of `rows` if the step's upload brought them, else nothing.
  std::optional<PlacedRows> FindSampleRows(absl::Span<const SampleRowParams> rows) const;
  // Brings their lists to the scratch memory, and takes `more_bytes` behind them, at `more`.
  absl::Status UploadSampleRows(absl::Span<const SampleRowParams> rows, int64_t vocab, int64_t more_bytes,
                                PlacedRows& placed, char*& more);
  absl::Status SampleRowsOf(const SampleParams& p, int64_t first, int64_t count);

  bool batch_invariant_ = false;
  std::function<void(absl::string_view)> warn_;
  std::atomic<int64_t> refused_products_{0};
  std::set<GemmShape> refused_shapes_;
  Buffer cublas_workspace_;
  Buffer ended_blocks_;
  std::optional<AlgorithmTuner> tuner_;  // set by Start
  std::unique_ptr<CublasGemm> cublas_;
  bool graphs_ = true;
  bool gemv_ = true;
  bool hopper_ = false;  // FlashInfer's kernels for Hopper may be used
  bool warming_up_ = false;
  std::set<std::tuple<std::string, int64_t, int64_t>> checked_;  // calls that a warm-up has compared
  bool feed_ = true;                                             // FeedTokens on the device, not by way of the host
  GraphCache graph_cache_;
  StepArea area_;
  FlashAttention flash_{this, &area_};
  SampleRows sample_rows_;
  absl::Span<const SampleRowParams> placed_of_;  // rows whose lists are at placed_
  PlacedRows placed_;
};

}  // namespace hadal::kernels::cuda
