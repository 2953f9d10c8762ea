// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_backend.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/string_view.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/scratch_plan.h"

namespace hadal::kernels {
namespace cuda {
namespace {

bool SwitchedOff(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && absl::string_view(value) == "off";
}

constexpr int64_t kCounterBytes = 256;

}  // namespace

absl::Status CudaBackend::Start(const Options& options) {
  if (absl::Status s = Open(options); !s.ok()) return s;
  absl::StatusOr<Buffer> workspace = Allocate(CublasGemm::WorkspaceBytes(options.batch_invariant));
  if (!workspace.ok()) return workspace.status();
  cublas_workspace_ = *std::move(workspace);
  const int64_t limit = Facts().mps ? multiprocessors() : 0;
  tuner_.emplace(AlgorithmScope{device_model(), driver_version(), CublasGemm::Version(), limit},
                 AlgorithmTuner::Options{.folder = options.batch_invariant ? "" : options.algorithm_folder,
                                         .limit_us = options.batch_invariant ? 0 : options.timing_limit_us,
                                         .now_us = {},
                                         .note = options.note,
                                         .warn = options.warn});
  absl::StatusOr<std::unique_ptr<CublasGemm>> gemm =
      CublasGemm::Create(stream(), {.batch_invariant = options.batch_invariant,
                                    .workspace = cublas_workspace_.data(),
                                    .multiprocessors = limit,
                                    .tuner = &*tuner_});
  if (!gemm.ok()) return gemm.status();
  cublas_ = *std::move(gemm);
  batch_invariant_ = options.batch_invariant;
  warn_ = options.warn;
  graphs_ = !SwitchedOff("HADAL_CUDA_GRAPHS");
  feed_ = !SwitchedOff("HADAL_CUDA_FEED");
  // A row must have the same sums in every company, and more rows go to cuBLASLt.
  gemv_ = !batch_invariant_ && !SwitchedOff("HADAL_CUDA_GEMV");
  // Which other rows an op has decides how FlashInfer shares out keys.
  hopper_ =
      !batch_invariant_ && capability() == kHopperCapability && HaveFlashHopper() && !SwitchedOff("HADAL_CUDA_HOPPER");
  flash_.set_hopper_prefill(hopper_);
  flash_.set_hopper_mla(hopper_);
  return absl::OkStatus();
}

StepBounds CudaBackend::Bounded(StepBounds bounds) const {
  if (!hopper_) bounds.expanded_kv_tokens = 0;
  return bounds;
}

CudaBackend::~CudaBackend() {
  if (cublas_ != nullptr) Synchronize().IgnoreError();  // its workspace may be in use
}

void CudaBackend::BeginWarmUp() {
  tuner_->Begin();
  warming_up_ = true;
}

void CudaBackend::EndWarmUp() {
  tuner_->End();
  warming_up_ = false;
  checked_.clear();
}

int64_t CudaBackend::ScratchBytes(const StepBounds& bounds) const {
  return ScratchBound(Bounded(bounds), multiprocessors()) + ListBytes(bounds) +
         CublasGemm::WorkspaceBytes(batch_invariant_) + (bounds.experts > 0 ? kCounterBytes : 0) +
         (graphs_ ? static_cast<int64_t>(GraphCache::kMaxGraphs) * GraphCache::kGraphBytes : 0);
}

int64_t CudaBackend::ListBytes(const StepBounds& bounds) const {
  return FlashPlanBound(Bounded(bounds), multiprocessors()) + SampleListBound(bounds);
}

absl::StatusOr<unsigned*> CudaBackend::EndedBlocks() {
  if (ended_blocks_.data() == nullptr) {
    absl::StatusOr<Buffer> counter = Allocate(kCounterBytes);
    if (!counter.ok()) return counter.status();
    if (absl::Status s = Zero(counter->data(), kCounterBytes); !s.ok()) return s;
    ended_blocks_ = *std::move(counter);
  }
  return static_cast<unsigned*>(ended_blocks_.data());
}

absl::Status CudaBackend::Reserve(const StepBounds& bounds) {
  if (bounds.experts > 0) {
    if (absl::Status s = EndedBlocks().status(); !s.ok()) return s;
  }
  return Scratch(ScratchBound(Bounded(bounds), multiprocessors())).status();
}

BackendCounters CudaBackend::Counters() const {
  return {.refused_products = refused_products_.load(std::memory_order_relaxed)};
}

}  // namespace cuda

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const Backend::Options& options) {
  auto backend = std::make_unique<cuda::CudaBackend>();
  if (absl::Status s = backend->Start(options); !s.ok()) return s;
  return std::unique_ptr<Backend>(std::move(backend));
}

CudaQueue CudaQueueOf(Backend& backend) {
  auto* device = dynamic_cast<cuda::CudaDevice*>(&backend);
  if (device == nullptr) return {};
  return {.stream = device->stream(), .enter = [device] { return device->Enter(); }};
}

}  // namespace hadal::kernels
