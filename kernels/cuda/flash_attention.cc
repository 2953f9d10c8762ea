// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_attention.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/flash_fixed_plan.h"

namespace hadal::kernels::cuda {
namespace {

int64_t RoundUp(int64_t value) { return (value + 255) / 256 * 256; }

int64_t Bytes(const std::vector<int32_t>& words) { return static_cast<int64_t>(words.size() * sizeof(int32_t)); }

// At least so much memory; what it held is gone when it grows.
absl::Status Grow(CudaDevice& device, int64_t bytes, Buffer& memory) {
  if (bytes <= memory.bytes()) return absl::OkStatus();
  memory.Reset();  // waits for work that uses it
  absl::StatusOr<Buffer> grown = device.Allocate(bytes);
  if (!grown.ok()) return grown.status();
  memory = *std::move(grown);
  return absl::OkStatus();
}

// More pages than FlashInfer counts: another kernel serves, which would add in another order.
absl::StatusOr<bool> WithoutPages(bool batch_invariant) {
  if (!batch_invariant) return false;
  return absl::ResourceExhaustedError("flashinfer: the contexts of a step hold more than 2^31 tokens");
}

// The error of a FlashInfer call, with its own words where it has some.
absl::Status FlashError(int code, const std::string& message, const char* call, int line) {
  if (code == 0) return absl::OkStatus();
  if (!message.empty()) return absl::InternalError(absl::StrCat("flashinfer: ", call, ": ", message));
  return CudaError(code, absl::StrCat("flashinfer ", call).c_str(), __FILE__, line);
}

}  // namespace

absl::Status FlashAttention::Reserve(int64_t plan_bytes) {
  if (!HaveFlashInfer()) return absl::OkStatus();
  if (plans_.empty()) plans_.emplace_back();
  return Grow(device_, plan_bytes, plans_.front().memory);
}

FlashAttention::Key FlashAttention::KeyOf(const RaggedBatch& batch, int64_t heads, int64_t kv_heads, int64_t head_dim,
                                          int64_t block_tokens) {
  return {batch.query_start.data,
          batch.context_lens.data,
          batch.block_tables.data,
          batch.sequences(),
          batch.tokens(),
          heads,
          kv_heads,
          head_dim,
          block_tokens};
}

FlashAttention::Plan& FlashAttention::Find(const Key& key) {
  Plan* free = nullptr;
  for (Plan& plan : plans_) {
    if (step_ > 0 && plan.step == step_ && plan.key == key) return plan;
    if (free == nullptr && (step_ == 0 || plan.step != step_)) free = &plan;
  }
  if (free == nullptr) free = &plans_.emplace_back();
  free->step = 0;
  free->key = key;
  return *free;
}

absl::Status FlashAttention::PlacePages(const RaggedBatch& batch, const FlashPages& pages, int64_t int_bytes,
                                        Plan& plan) {
  const int64_t sequences = batch.sequences();
  std::vector<int32_t> lists = pages.first_page;
  lists.insert(lists.end(), pages.last_page_tokens.begin(), pages.last_page_tokens.end());
  const int64_t indices_at = RoundUp(Bytes(lists));
  const int64_t ints_at = indices_at + RoundUp(pages.pages() * int64_t{sizeof(int32_t)});
  if (absl::Status s = Grow(device_, ints_at + int_bytes, plan.memory); !s.ok()) return s;
  char* memory = static_cast<char*>(plan.memory.data());
  auto* first_page = reinterpret_cast<int32_t*>(memory);
  auto* page_indices = reinterpret_cast<int32_t*>(memory + indices_at);
  plan.first_page = first_page;
  plan.last_page_tokens = first_page + sequences + 1;
  plan.page_indices = page_indices;
  plan.int_workspace = memory + ints_at;
  if (absl::Status s = device_.Upload(first_page, lists.data(), Bytes(lists)); !s.ok()) return s;
  HADAL_CUDA_RETURN_IF_ERROR(LaunchBuildPageIndices(device_.stream(), batch.block_tables.as<const int32_t>(),
                                                    batch.block_tables.stride(0), first_page, sequences, pages.pages(),
                                                    page_indices));
  return absl::OkStatus();
}

absl::Status FlashAttention::MakePagedPlan(const PagedAttentionParams& p, FlashPagedLaunch launch,
                                           const FlashPages& pages, bool batch_invariant, Plan& plan) {
  plan.float_bytes = 0;
  if (batch_invariant) {
    const FlashFixedPaged fixed = PlanFixedPaged(p.batch, launch.heads / launch.kv_heads);
    if (absl::Status s = PlacePages(p.batch, pages, Bytes(fixed.words), plan); !s.ok()) return s;
    plan.paged = fixed.plan;
    return device_.Upload(plan.int_workspace, fixed.words.data(), Bytes(fixed.words));
  }
  std::string message;
  launch.host_first_page = pages.first_page.data();
  const int sized = FlashPagedWorkspace(launch, &launch.float_bytes, &launch.int_bytes, &message);
  if (absl::Status s = FlashError(sized, message, "workspace of paged attention", __LINE__); !s.ok()) return s;
  if (absl::Status s = PlacePages(p.batch, pages, launch.int_bytes, plan); !s.ok()) return s;
  const absl::StatusOr<char*> floats = device_.Scratch(launch.float_bytes);
  if (!floats.ok()) return floats.status();
  plan.float_bytes = launch.float_bytes;
  launch.float_workspace = *floats;
  launch.int_workspace = plan.int_workspace;
  return device_.StageWith(launch.int_bytes, [&](char* pinned) {
    launch.host_int_workspace = pinned;
    const int planned = PlanFlashPagedRun(device_.stream(), launch, &plan.paged, &message);
    return FlashError(planned, message, "plan of paged attention", __LINE__);
  });
}

absl::StatusOr<bool> FlashAttention::TryPaged(const PagedAttentionParams& p, bool batch_invariant) {
  if (!HaveFlashInfer()) return false;
  std::optional<FlashPagedLaunch> launch = PlanFlashPaged(p);
  if (!launch.has_value()) return false;
  if (absl::Status s = device_.Enter(); !s.ok()) return s;
  Plan& plan = Find(KeyOf(p.batch, launch->heads, launch->kv_heads, launch->head_dim, launch->block_tokens));
  if (plan.step == 0) {
    const std::optional<FlashPages> pages = PlanPages(p.batch, launch->block_tokens);
    if (!pages.has_value()) return WithoutPages(batch_invariant);
    if (absl::Status s = MakePagedPlan(p, *launch, *pages, batch_invariant, plan); !s.ok()) return s;
    Finish(plan);
  }
  const absl::StatusOr<char*> floats = device_.Scratch(plan.float_bytes);
  if (!floats.ok()) return floats.status();
  launch->first_page = plan.first_page;
  launch->last_page_tokens = plan.last_page_tokens;
  launch->page_indices = plan.page_indices;
  launch->int_workspace = plan.int_workspace;
  launch->float_workspace = *floats;
  std::string message;
  const int ran = RunFlashPaged(device_.stream(), *launch, plan.paged, &message);
  if (absl::Status s = FlashError(ran, message, "paged attention", __LINE__); !s.ok()) return s;
  return true;
}

absl::Status FlashAttention::MakeMlaPlan(const MlaAttentionParams& p, FlashMlaLaunch launch, const FlashPages& pages,
                                         bool batch_invariant, Plan& plan) {
  const int64_t multiprocessors = device_.multiprocessors();
  plan.float_bytes = 0;
  if (batch_invariant) {
    const FlashFixedMla fixed = PlanFixedMla(p.batch, pages, launch.heads, multiprocessors);
    if (absl::Status s = PlacePages(p.batch, pages, Bytes(fixed.words), plan); !s.ok()) return s;
    plan.mla = fixed.plan;
    return device_.Upload(plan.int_workspace, fixed.words.data(), Bytes(fixed.words));
  }
  launch.int_bytes = FlashMlaIntBytes(multiprocessors);
  launch.float_bytes = plan.float_bytes = FlashMlaFloatBytes(multiprocessors);
  if (absl::Status s = PlacePages(p.batch, pages, launch.int_bytes, plan); !s.ok()) return s;
  const absl::StatusOr<char*> floats = device_.Scratch(launch.float_bytes);
  if (!floats.ok()) return floats.status();
  launch.host_first_page = pages.first_page.data();
  launch.float_workspace = *floats;
  launch.int_workspace = plan.int_workspace;
  return device_.StageWith(launch.int_bytes, [&](char* pinned) {
    launch.host_int_workspace = pinned;
    std::string message;
    const int planned = PlanFlashMlaRun(device_.stream(), launch, &plan.mla, &message);
    return FlashError(planned, message, "plan of mla attention", __LINE__);
  });
}

absl::StatusOr<bool> FlashAttention::TryMla(const MlaAttentionParams& p, bool batch_invariant) {
  if (!HaveFlashInfer()) return false;
  std::optional<FlashMlaLaunch> launch = PlanFlashMla(p, batch_invariant);
  if (!launch.has_value()) return false;
  const int64_t work = FlashMlaWorkBound(p.batch, launch->heads, device_.multiprocessors());
  if (!batch_invariant && work > kFlashMlaMaxWork) return false;
  if (absl::Status s = device_.Enter(); !s.ok()) return s;
  Plan& plan = Find(KeyOf(p.batch, launch->heads, /*kv_heads=*/0, kFlashMlaLatent, launch->block_tokens));
  if (plan.step == 0) {
    const std::optional<FlashPages> pages = PlanPages(p.batch, launch->block_tokens);
    if (!pages.has_value()) return WithoutPages(batch_invariant);
    if (absl::Status s = MakeMlaPlan(p, *launch, *pages, batch_invariant, plan); !s.ok()) return s;
    Finish(plan);
  }
  const absl::StatusOr<char*> floats = device_.Scratch(plan.float_bytes);
  if (!floats.ok()) return floats.status();
  launch->page_indices = plan.page_indices;
  launch->int_workspace = plan.int_workspace;
  launch->float_workspace = *floats;
  std::string message;
  const int ran = RunFlashMla(device_.stream(), *launch, plan.mla, &message);
  if (absl::Status s = FlashError(ran, message, "mla attention", __LINE__); !s.ok()) return s;
  return true;
}

}  // namespace hadal::kernels::cuda
