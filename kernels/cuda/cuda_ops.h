// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/cublas_gemm.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/flash_attention.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/sample_rows.h"

namespace hadal::kernels::cuda {

// The ops on one device: turns parameters into launches. Each method chooses the kernel and fills its launch
// description; the kernels lie behind launch.h. Bodies: cuda_dense_ops.cc, cuda_attention_ops.cc, cuda_moe_ops.cc,
// cuda_sample_op.cc.
class CudaBackend final : public CudaDevice {
 public:
  absl::Status Start(const Options& options);
  ~CudaBackend() override;

 protected:
#define HADAL_DECLARE_OP(Op) absl::Status Do##Op(const Op##Params& params) override;
  HADAL_FOR_EACH_OP(HADAL_DECLARE_OP)
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

  // False: cuBLASLt does not take this product.
  absl::StatusOr<bool> TryCublas(const std::optional<GemmPlan>& plan);
  absl::Status Attend(const char* op, const AttentionLaunch& launch);
  absl::Status SampleRowsOf(const SampleParams& p);

  bool batch_invariant_ = false;
  std::unique_ptr<CublasGemm> cublas_;
  FlashAttention flash_{this};
  SampleRows sample_rows_;
};

}  // namespace hadal::kernels::cuda
