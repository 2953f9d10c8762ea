// SPDX-License-Identifier: Apache-2.0
#include "models/plan/memory_plan.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::plan {
namespace {

constexpr int64_t kMaxBlockTokens = 65536;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kDeviceBytes[] = {80 * kGiB, 141 * kGiB};  // H100, H200
constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();

std::string Bytes(int64_t bytes) { return absl::StrFormat("%.2f GiB (%d bytes)", bytes / 1073741824.0, bytes); }

DeviceFit Fit(const MemoryPlan& plan, int64_t device_bytes) {
  const int64_t fixed_bytes = plan.weights_bytes + plan.workspace_bytes + plan.window_bytes;
  DeviceFit fit{device_bytes, fixed_bytes + plan.kv_bytes_per_block, 0};
  if (plan.kv_bytes_per_block > 0 && fit.needed_bytes <= device_bytes) {
    fit.kv_tokens = (device_bytes - fixed_bytes) / plan.kv_bytes_per_block * plan.block_tokens;
  }
  return fit;
}

absl::Status CheckOptions(const MemoryPlanOptions& options) {
  auto error = [](absl::string_view name, absl::string_view expected, int64_t found) {
    return absl::InvalidArgumentError(absl::StrCat("memory plan: ", name, ": expected ", expected, ", found ", found));
  };
  constexpr int64_t kMaxBytes = int64_t{1} << 56;
  if (options.block_tokens < 1 || options.block_tokens > kMaxBlockTokens) {
    return error("block_tokens", absl::StrCat("an integer in [1, ", kMaxBlockTokens, "]"), options.block_tokens);
  }
  if (options.kv_layout.block_tokens_multiple() > kMaxBlockTokens) {
    return error("kv_layout", absl::StrCat("entries that share a block of at most ", kMaxBlockTokens, " tokens"),
                 options.kv_layout.block_tokens_multiple());
  }
  for (auto [name, count] :
       {std::pair{"max_sequences", options.max_sequences}, std::pair{"max_step_tokens", options.max_step_tokens}}) {
    if (count < 0 || count > kMaxCount) return error(name, absl::StrCat("an integer in [0, ", kMaxCount, "]"), count);
  }
  if (options.max_model_len < 0) return error("max_model_len", "at least 0 tokens", options.max_model_len);
  for (auto [name, bytes] :
       {std::pair{"budget_bytes", options.budget_bytes}, std::pair{"workspace_bytes", options.workspace_bytes},
        std::pair{"extra_weights_bytes", options.extra_weights_bytes}}) {
    if (bytes < 0 || bytes > kMaxBytes) return error(name, absl::StrCat("an integer in [0, ", kMaxBytes, "]"), bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MemoryPlan> PlanMemory(const config::ModelConfig& config, const MemoryPlanOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  MemoryPlan plan;
  plan.max_model_len = options.max_model_len == 0 ? config.max_position_embeddings : options.max_model_len;
  if (plan.max_model_len > config.max_position_embeddings) {
    return absl::InvalidArgumentError(absl::StrCat("memory plan: max_model_len: expected at most the model's ",
                                                   config.max_position_embeddings, " tokens, found ",
                                                   plan.max_model_len));
  }
  plan.parameter_count = options.parameters.parameters;
  plan.active_parameter_count = options.parameters.active;
  plan.mtp_parameter_count = options.mtp_parameters;
  plan.ignored_tensors = options.ignored_tensors;
  plan.ignored_bytes = options.ignored_bytes;
  plan.weights_bytes = options.parameters.bytes + options.extra_weights_bytes;
  plan.workspace_bytes = options.workspace_bytes;
  const models::KvLayout& layout = options.kv_layout;
  const int32_t block_tokens = layout.round_block_tokens(static_cast<int32_t>(options.block_tokens));
  plan.block_tokens = block_tokens;
  plan.kv_bytes_per_token = layout.bytes_per_token();
  plan.kv_bytes_per_block = layout.block_bytes(block_tokens);
  plan.window_tokens = layout.window_tokens;
  const int64_t window_block_bytes = layout.window_block_bytes(block_tokens);
  plan.window_bytes_per_sequence = layout.window_blocks_per_sequence(block_tokens) * window_block_bytes;
  plan.window_bytes =
      layout.window_blocks_for(block_tokens, options.max_sequences, options.max_step_tokens) * window_block_bytes;
  const int64_t blocks_for_longest = (plan.max_model_len + block_tokens - 1) / block_tokens;
  plan.max_len_request_bytes = blocks_for_longest * plan.kv_bytes_per_block;
  for (const int64_t device_bytes : kDeviceBytes) plan.devices.push_back(Fit(plan, device_bytes));
  plan.budget_bytes = options.budget_bytes;
  if (options.budget_bytes > 0) {
    if (plan.kv_bytes_per_block < 1) {
      return absl::InvalidArgumentError("memory plan: kv_layout: expected a full-attention cache, found none");
    }
    const int64_t free_bytes = options.budget_bytes - plan.weights_bytes - plan.workspace_bytes - plan.window_bytes;
    if (free_bytes < plan.kv_bytes_per_block) {
      std::string windows;
      if (plan.window_bytes > 0) {
        windows = absl::StrCat(", windows of ", options.max_sequences, " sequences ", Bytes(plan.window_bytes));
      }
      return absl::ResourceExhaustedError(absl::StrCat("memory plan: weights need ", Bytes(plan.weights_bytes),
                                                       ", workspace ", Bytes(plan.workspace_bytes), windows,
                                                       " and one block of cache ", Bytes(plan.kv_bytes_per_block),
                                                       ", but the budget is ", Bytes(plan.budget_bytes)));
    }
    const models::KvCacheSize size =
        layout.Divide(free_bytes + plan.window_bytes, block_tokens, options.max_sequences, options.max_step_tokens);
    plan.kv_blocks = size.blocks;
    plan.kv_tokens = plan.kv_blocks * block_tokens;
    plan.window_bytes = size.window_blocks * window_block_bytes;
  }
  return plan;
}

std::string MemoryPlan::ToString() const {
  std::string text = absl::StrFormat(
      "parameters             %d (%d in matrices per token)\n"
      "weights                %s\n"
      "workspace              %s\n"
      "cache per token        %d bytes\n"
      "cache per block        %d bytes (%d tokens)\n"
      "longest request        %d tokens, %s of cache\n",
      parameter_count, active_parameter_count, Bytes(weights_bytes), Bytes(workspace_bytes), kv_bytes_per_token,
      kv_bytes_per_block, block_tokens, max_model_len, Bytes(max_len_request_bytes));
  if (mtp_parameter_count > 0 || ignored_tensors > 0) {
    absl::StrAppendFormat(&text, "ignored                %d parameters of multi-token prediction", mtp_parameter_count);
    if (ignored_tensors > 0) {
      absl::StrAppendFormat(&text, "; %d tensors, %s in the files", ignored_tensors, Bytes(ignored_bytes));
    }
    absl::StrAppend(&text, "\n");
  }
  if (window_tokens > 0) {
    absl::StrAppendFormat(&text, "window                 %d tokens, %s a sequence\nwindows                %s\n",
                          window_tokens, Bytes(window_bytes_per_sequence), Bytes(window_bytes));
  }
  for (const DeviceFit& device : devices) {
    const std::string name = absl::StrFormat("on %d GiB", device.device_bytes / kGiB);
    if (device.kv_tokens > 0) {
      absl::StrAppendFormat(&text, "%-22s fits, with a cache of %d tokens\n", name, device.kv_tokens);
    } else {
      absl::StrAppendFormat(&text, "%-22s does not fit: needs %s\n", name, Bytes(device.needed_bytes));
    }
  }
  if (budget_bytes > 0) {
    absl::StrAppendFormat(&text, "budget                 %s\ncache                  %d blocks, %d tokens\n",
                          Bytes(budget_bytes), kv_blocks, kv_tokens);
    if (kv_blocks * kv_bytes_per_block < max_len_request_bytes) {
      absl::StrAppend(&text, "the longest request does not fit: lower --max-model-len or raise --memory-budget\n");
    }
  }
  return text;
}

}  // namespace hadal::plan
