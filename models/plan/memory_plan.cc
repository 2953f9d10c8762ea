// SPDX-License-Identifier: Apache-2.0
#include "models/plan/memory_plan.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "models/checkpoint/deepseek_v4_tensors.h"
#include "models/checkpoint/tensor_spec.h"

namespace hadal::plan {
namespace {

using kernels::DType;
using kernels::DTypeBytes;

constexpr int64_t kMaxBlockTokens = 65536;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kDeviceBytes[] = {80 * kGiB, 141 * kGiB};  // H100, H200
constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();

// Parameters of a part of the model: all of them, and those in matrices that one token multiplies with.
struct Count {
  int64_t all = 0;
  int64_t active = 0;

  Count& operator+=(const Count& other) {
    all += other.all;
    active += other.active;
    return *this;
  }
};

// The limits of ParseModelConfig keep every sum below 2^62.
Count Matrix(int64_t out, int64_t in, bool bias) { return {out * in + (bias ? out : 0), out * in}; }
Count Vector(int64_t size) { return {size, 0}; }

Count Mlp(int64_t hidden, int64_t intermediate, bool bias) {
  Count count = Matrix(intermediate, hidden, bias);
  count += Matrix(intermediate, hidden, bias);
  count += Matrix(hidden, intermediate, bias);
  return count;
}

Count Attention(const config::ModelConfig& config) {
  const config::AttentionConfig& attention = config.attention;
  Count count;
  if (!config.mla) {
    const int64_t kv_rows = attention.kv_heads * attention.head_dim;
    count += Matrix(attention.heads * attention.head_dim, config.hidden_size, attention.qkv_bias);
    count += Matrix(kv_rows, config.hidden_size, attention.qkv_bias);
    count += Matrix(kv_rows, config.hidden_size, attention.qkv_bias);
    count += Matrix(config.hidden_size, attention.heads * attention.head_dim, attention.out_bias);
    if (attention.qk_norm) count += Vector(2 * attention.head_dim);
    return count;
  }
  const config::MlaConfig& mla = *config.mla;
  if (mla.q_lora_rank == 0) {
    count += Matrix(attention.heads * mla.qk_head_dim(), config.hidden_size, false);
  } else {
    count += Matrix(mla.q_lora_rank, config.hidden_size, mla.bias);
    count += Vector(mla.q_lora_rank);
    count += Matrix(attention.heads * mla.qk_head_dim(), mla.q_lora_rank, false);
  }
  count += Matrix(mla.latent_dim(), config.hidden_size, mla.bias);
  count += Vector(mla.kv_lora_rank);
  count += Matrix(attention.heads * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank, false);
  count += Matrix(config.hidden_size, attention.heads * mla.v_head_dim, mla.bias);
  if (config.indexer) {
    const config::IndexerConfig& indexer = *config.indexer;
    count += Matrix(indexer.heads * indexer.head_dim, mla.q_lora_rank, false);
    count += Matrix(indexer.head_dim, config.hidden_size, false);
    count += Vector(2 * indexer.head_dim);
    count += Matrix(indexer.heads, config.hidden_size, false);
  }
  return count;
}

Count Moe(const config::ModelConfig& config) {
  const config::MoeConfig& moe = *config.moe;
  Count count = Matrix(moe.routed_experts, config.hidden_size, false);
  if (moe.correction_bias) count += Vector(moe.routed_experts);
  const Count expert = Mlp(config.hidden_size, moe.intermediate_size, false);
  count += Count{expert.all * moe.routed_experts, expert.active * moe.experts_per_token};
  if (moe.shared_experts > 0) count += Mlp(config.hidden_size, moe.shared_intermediate_size(), false);
  return count;
}

Count CountAll(const config::ModelConfig& config) {
  if (config.v4_attention) {
    const checkpoint::DeepseekV4Totals totals = checkpoint::CountDeepseekV4(config);
    return {totals.parameters, totals.active};
  }
  const int64_t embedding = config.vocab_size * config.hidden_size;
  Count count{config.tie_word_embeddings ? embedding : 2 * embedding, embedding};
  const Count attention = Attention(config);
  const Count dense = Mlp(config.hidden_size, config.intermediate_size, config.mlp_bias);
  const Count moe = config.moe ? Moe(config) : Count();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    count += attention;
    count += Vector(2 * config.hidden_size);
    count += config.IsMoeLayer(layer) ? moe : dense;
  }
  count += Vector(config.hidden_size);
  return count;
}

// Parameters that are kept in f32 whatever the compute type.
int64_t RouterBiasCount(const config::ModelConfig& config) {
  if (!config.moe || !config.moe->correction_bias) return 0;
  int64_t count = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.IsMoeLayer(layer)) count += config.moe->routed_experts;
  }
  return count;
}

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
  if (!kernels::IsComputeDType(options.compute_dtype)) {
    return absl::InvalidArgumentError(absl::StrCat("memory plan: compute_dtype: expected f32, bf16 or f16, found ",
                                                   kernels::DTypeName(options.compute_dtype)));
  }
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

int64_t ParameterCount(const config::ModelConfig& config) { return CountAll(config).all; }

int64_t MtpParameterCount(const config::ModelConfig& config) {
  if (config.mtp_layers == 0) return 0;
  if (config.v4_attention) return config.mtp_layers * checkpoint::DeepseekV4MtpParameters(config);
  const int64_t hidden = config.hidden_size;
  Count layer = Attention(config);
  layer += config.moe ? Moe(config) : Mlp(hidden, config.intermediate_size, config.mlp_bias);
  layer += Vector(2 * hidden);                 // the block's norms
  layer += Vector(3 * hidden);                 // enorm, hnorm, shared_head.norm
  layer += Matrix(hidden, 2 * hidden, false);  // eh_proj
  layer += Vector(2 * config.vocab_size * hidden);
  return config.mtp_layers * layer.all;
}

int64_t ActiveParameterCount(const config::ModelConfig& config) { return CountAll(config).active; }

int64_t WeightsBytes(const config::ModelConfig& config, DType compute_dtype) {
  if (config.v4_attention) return checkpoint::DeepseekV4WeightsBytes(config, compute_dtype);
  const int64_t router_bias = RouterBiasCount(config);
  return (ParameterCount(config) - router_bias) * DTypeBytes(compute_dtype) +
         router_bias * DTypeBytes(checkpoint::KeptDType(checkpoint::TensorRole::kRouterBias, compute_dtype));
}

absl::StatusOr<MemoryPlan> PlanMemory(const config::ModelConfig& config, const MemoryPlanOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  MemoryPlan plan;
  plan.max_model_len = options.max_model_len == 0 ? config.max_position_embeddings : options.max_model_len;
  if (plan.max_model_len > config.max_position_embeddings) {
    return absl::InvalidArgumentError(absl::StrCat("memory plan: max_model_len: expected at most the model's ",
                                                   config.max_position_embeddings, " tokens, found ",
                                                   plan.max_model_len));
  }
  plan.parameter_count = ParameterCount(config);
  plan.active_parameter_count = ActiveParameterCount(config);
  plan.mtp_parameter_count = MtpParameterCount(config);
  plan.left_aside_tensors = options.left_aside_tensors;
  plan.left_aside_bytes = options.left_aside_bytes;
  plan.weights_bytes = WeightsBytes(config, options.compute_dtype) + options.extra_weights_bytes;
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
      return absl::InvalidArgumentError("memory plan: kv_layout: expected a cache that is kept, found none");
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
  if (mtp_parameter_count > 0 || left_aside_tensors > 0) {
    absl::StrAppendFormat(&text, "ignored                %d parameters of multi-token prediction", mtp_parameter_count);
    if (left_aside_tensors > 0) {
      absl::StrAppendFormat(&text, "; %d tensors, %s in the files", left_aside_tensors, Bytes(left_aside_bytes));
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
