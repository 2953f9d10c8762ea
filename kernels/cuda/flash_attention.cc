// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_attention.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/flash_fixed_plan.h"

namespace hadal::kernels::cuda {
namespace {

int64_t RoundUp(int64_t value) { return (value + 255) / 256 * 256; }

int64_t Bytes(const std::vector<int32_t>& words) { return static_cast<int64_t>(words.size() * sizeof(int32_t)); }

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

absl::StatusOr<FlashAttention::Pieces> FlashAttention::Prepare(const RaggedBatch& batch, const FlashPages& pages,
                                                               int64_t int_bytes, int64_t float_bytes) {
  const int64_t sequences = batch.sequences();
  lists_ = pages.first_page;
  lists_.insert(lists_.end(), pages.last_page_tokens.begin(), pages.last_page_tokens.end());
  const int64_t list_bytes = static_cast<int64_t>(lists_.size() * sizeof(int32_t));
  const int64_t indices_at = RoundUp(list_bytes);
  const int64_t ints_at = indices_at + RoundUp(pages.pages() * int64_t{sizeof(int32_t)});
  const int64_t floats_at = ints_at + RoundUp(int_bytes);
  absl::StatusOr<char*> scratch = device_.Scratch(floats_at + float_bytes);
  if (!scratch.ok()) return scratch.status();
  Pieces pieces;
  pieces.first_page = reinterpret_cast<int32_t*>(*scratch);
  pieces.last_page_tokens = pieces.first_page + sequences + 1;
  pieces.page_indices = reinterpret_cast<int32_t*>(*scratch + indices_at);
  pieces.int_workspace = *scratch + ints_at;
  pieces.float_workspace = *scratch + floats_at;
  if (absl::Status s = device_.Upload(pieces.first_page, lists_.data(), list_bytes); !s.ok()) return s;
  HADAL_CUDA_RETURN_IF_ERROR(LaunchBuildPageIndices(device_.stream(), batch.block_tables.as<const int32_t>(),
                                                    batch.block_tables.stride(0), pieces.first_page, sequences,
                                                    pages.pages(), pieces.page_indices));
  return pieces;
}

absl::StatusOr<bool> FlashAttention::TryPaged(const PagedAttentionParams& p, bool batch_invariant) {
  if (!HaveFlashInfer()) return false;
  std::optional<FlashPagedLaunch> launch = PlanFlashPaged(p);
  if (!launch.has_value()) return false;
  const std::optional<FlashPages> pages = PlanPages(p.batch, p.k_cache.size(1));
  if (!pages.has_value()) return WithoutPages(batch_invariant);
  if (absl::Status s = device_.Enter(); !s.ok()) return s;
  launch->host_first_page = pages->first_page.data();
  std::string message;
  FlashFixedPaged fixed;
  if (batch_invariant) {
    fixed = PlanFixedPaged(p.batch, launch->heads / launch->kv_heads);
    launch->fixed = fixed.plan;
    launch->int_bytes = Bytes(fixed.words);
  } else {
    const int sized = FlashPagedWorkspace(*launch, &launch->float_bytes, &launch->int_bytes, &message);
    if (absl::Status s = FlashError(sized, message, "workspace of paged attention", __LINE__); !s.ok()) return s;
  }
  absl::StatusOr<Pieces> pieces = Prepare(p.batch, *pages, launch->int_bytes, launch->float_bytes);
  if (!pieces.ok()) return pieces.status();
  if (batch_invariant) {
    absl::Status s = device_.Upload(pieces->int_workspace, fixed.words.data(), launch->int_bytes);
    if (!s.ok()) return s;
  }
  host_workspace_.resize(static_cast<size_t>(launch->int_bytes));
  launch->first_page = pieces->first_page;
  launch->last_page_tokens = pieces->last_page_tokens;
  launch->page_indices = pieces->page_indices;
  launch->int_workspace = pieces->int_workspace;
  launch->float_workspace = pieces->float_workspace;
  launch->host_int_workspace = host_workspace_.data();
  const int ran = RunFlashPaged(device_.stream(), *launch, &message);
  if (absl::Status s = FlashError(ran, message, "paged attention", __LINE__); !s.ok()) return s;
  return true;
}

// FlashInfer's own plan, on the device.
absl::StatusOr<FlashMlaPlan> FlashAttention::PlanMla(const FlashMlaLaunch& launch) {
  FlashMlaPlan plan;
  std::string message;
  const int planned = PlanFlashMlaRun(launch, &plan, &message);
  if (absl::Status s = FlashError(planned, message, "plan of mla attention", __LINE__); !s.ok()) return s;
  if (absl::Status s = device_.Upload(launch.int_workspace, host_workspace_.data(), plan.used_int_bytes); !s.ok())
    return s;
  return plan;
}

absl::StatusOr<bool> FlashAttention::TryMla(const MlaAttentionParams& p, bool batch_invariant) {
  if (!HaveFlashInfer()) return false;
  std::optional<FlashMlaLaunch> launch = PlanFlashMla(p, batch_invariant);
  if (!launch.has_value()) return false;
  const int64_t multiprocessors = device_.multiprocessors();
  if (!batch_invariant && FlashMlaWorkBound(p.batch, launch->heads, multiprocessors) > kFlashMlaMaxWork) return false;
  const std::optional<FlashPages> pages = PlanPages(p.batch, p.cache.size(1));
  if (!pages.has_value()) return WithoutPages(batch_invariant);
  if (absl::Status s = device_.Enter(); !s.ok()) return s;
  FlashFixedMla fixed;
  if (batch_invariant) fixed = PlanFixedMla(p.batch, *pages, launch->heads, multiprocessors);
  launch->int_bytes = batch_invariant ? Bytes(fixed.words) : FlashMlaIntBytes(multiprocessors);
  launch->float_bytes = batch_invariant ? 0 : FlashMlaFloatBytes(multiprocessors);
  absl::StatusOr<Pieces> pieces = Prepare(p.batch, *pages, launch->int_bytes, launch->float_bytes);
  if (!pieces.ok()) return pieces.status();
  host_workspace_.resize(static_cast<size_t>(launch->int_bytes));
  launch->host_first_page = pages->first_page.data();
  launch->page_indices = pieces->page_indices;
  launch->int_workspace = pieces->int_workspace;
  launch->float_workspace = pieces->float_workspace;
  launch->host_int_workspace = host_workspace_.data();
  absl::StatusOr<FlashMlaPlan> plan = fixed.plan;
  if (batch_invariant) {
    if (absl::Status s = device_.Upload(launch->int_workspace, fixed.words.data(), launch->int_bytes); !s.ok())
      return s;
  } else {
    plan = PlanMla(*launch);
  }
  if (!plan.ok()) return plan.status();
  std::string message;
  const int ran = RunFlashMla(device_.stream(), *launch, *plan, &message);
  if (absl::Status s = FlashError(ran, message, "mla attention", __LINE__); !s.ok()) return s;
  return true;
}

}  // namespace hadal::kernels::cuda
