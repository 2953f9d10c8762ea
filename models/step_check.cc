// SPDX-License-Identifier: Apache-2.0
#include "models/step_check.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace hadal::models {
namespace {

constexpr int32_t kMaxTopLogprobs = 20;

// The ranges of models/sampling_params.h. A value outside would make the sample op refuse the whole step.
const char* ParamOutOfRange(const SamplingParams& params) {
  if (!(params.temperature >= 0.0f) || std::isinf(params.temperature)) return "temperature";
  if (!(params.top_p > 0.0f && params.top_p <= 1.0f)) return "top_p";
  if (!(params.min_p >= 0.0f && params.min_p <= 1.0f)) return "min_p";
  if (!(params.repetition_penalty > 0.0f) || std::isinf(params.repetition_penalty)) return "repetition_penalty";
  if (!std::isfinite(params.frequency_penalty)) return "frequency_penalty";
  if (!std::isfinite(params.presence_penalty)) return "presence_penalty";
  return nullptr;
}

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("step: ", parts...));
}

absl::Status CheckVectorSize(absl::string_view name, size_t found, size_t expected) {
  if (found == expected) return absl::OkStatus();
  return Invalid(name, " has ", found, " entries, expected ", expected);
}

}  // namespace

absl::Status CheckCacheSize(const KvLayout& layout, const KvCacheSize& size) {
  const auto invalid = [&](const auto&... parts) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache of ", size.blocks, " blocks of ", size.block_tokens, " tokens: ", parts...));
  };
  if (size.blocks < 1 || size.block_tokens < 1) return invalid("minimum 1");
  const int32_t multiple = layout.block_tokens_multiple();
  if (size.block_tokens % multiple != 0) return invalid("a block must hold a multiple of ", multiple, " tokens");
  if ((layout.window_tokens > 0) != (size.window_blocks > 0)) {
    return invalid(size.window_blocks, " window blocks for a window of ", layout.window_tokens, " tokens");
  }
  return absl::OkStatus();
}

bool IsFed(const StepInput& input) { return std::any_of(input.token_ids.begin(), input.token_ids.end(), IsFedToken); }

StepChecker::StepChecker(const StepLimits& limits)
    : limits_(limits),
      kept_{"block_tables", "slot_mapping", limits.num_blocks, std::vector<BlockWriter>(limits.num_blocks)},
      window_{"window_block_tables", "window_slot_mapping", limits.window_blocks,
              std::vector<BlockWriter>(limits.window_blocks)} {}

absl::Status StepChecker::Check(const StepInput& input, int32_t fed_samples) {
  ++step_;
  fed_samples_ = fed_samples;
  if (absl::Status status = CheckSizes(input); !status.ok()) return status;
  for (int32_t s = 0; s < input.sequences(); ++s) {
    if (absl::Status status = CheckSequence(input, s); !status.ok()) return status;
  }
  for (int32_t i = 0; i < static_cast<int32_t>(input.samples.size()); ++i) {
    if (absl::Status status = CheckSample(input, i); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status StepChecker::CheckSizes(const StepInput& input) const {
  const size_t tokens = input.token_ids.size();
  const size_t sequences = input.context_lens.size();
  if (tokens == 0) return Invalid("token_ids is empty");
  if (limits_.max_tokens > 0 && tokens > static_cast<size_t>(limits_.max_tokens)) {
    return Invalid(tokens, " tokens, limit ", limits_.max_tokens);
  }
  if (limits_.max_sequences > 0 && sequences > static_cast<size_t>(limits_.max_sequences)) {
    return Invalid(sequences, " sequences, limit ", limits_.max_sequences);
  }
  if (absl::Status s = CheckVectorSize("positions", input.positions.size(), tokens); !s.ok()) return s;
  if (absl::Status s = CheckVectorSize("slot_mapping", input.slot_mapping.size(), tokens); !s.ok()) return s;
  if (absl::Status s = CheckVectorSize("query_start", input.query_start.size(), sequences + 1); !s.ok()) return s;
  if (input.block_table_stride < 1) return Invalid("block_table_stride is ", input.block_table_stride, ", minimum 1");
  const size_t table_entries = sequences * static_cast<size_t>(input.block_table_stride);
  if (absl::Status s = CheckVectorSize("block_tables", input.block_tables.size(), table_entries); !s.ok()) return s;
  const bool windowed = limits_.window_tokens > 0;
  if (absl::Status s = CheckVectorSize("window_slot_mapping", input.window_slot_mapping.size(), windowed ? tokens : 0);
      !s.ok()) {
    return s;
  }
  if (absl::Status s =
          CheckVectorSize("window_block_tables", input.window_block_tables.size(), windowed ? table_entries : 0);
      !s.ok()) {
    return s;
  }
  if (input.query_start.front() != 0) return Invalid("query_start[0] is ", input.query_start.front(), ", expected 0");
  if (input.query_start.back() != input.tokens()) {
    return Invalid("query_start ends at ", input.query_start.back(), ", expected ", tokens);
  }
  return absl::OkStatus();
}

absl::Status StepChecker::CheckSequence(const StepInput& input, int32_t sequence) {
  const int32_t begin = input.query_start[sequence];
  const int32_t end = input.query_start[sequence + 1];
  // Both ends were not checked against each other before: a descending pair would index outside token_ids.
  if (begin >= end || begin < 0 || end > input.tokens()) {
    return Invalid("query_start[", sequence, "] is ", begin, " and the next is ", end,
                   ": a sequence needs a token row");
  }
  const int32_t context_len = input.context_lens[sequence];
  if (context_len > limits_.max_model_len) {
    return Invalid("context_lens[", sequence, "] is ", context_len, ", limit ", limits_.max_model_len);
  }
  if (context_len < end - begin) {
    return Invalid("context_lens[", sequence, "] is ", context_len, ", below its ", end - begin, " new tokens");
  }
  const int32_t first_position = context_len - (end - begin);
  const int32_t used_blocks = (context_len + limits_.block_tokens - 1) / limits_.block_tokens;
  if (used_blocks > input.block_table_stride) {
    return Invalid("sequence ", sequence, " needs ", used_blocks, " blocks, block_table_stride is ",
                   input.block_table_stride);
  }
  for (int32_t t = begin; t < end; ++t) {
    const int32_t token_id = input.token_ids[t];
    if (token_id >= limits_.vocab_size || (IsFedToken(token_id) && fed_samples_ == 0)) {
      return Invalid("token_ids[", t, "] is ", token_id, ", limit ", limits_.vocab_size);
    }
    if (IsFedToken(token_id) && FedSample(token_id) >= fed_samples_) {
      return Invalid("token_ids[", t, "] is that of sample ", FedSample(token_id), " of the step before, limit ",
                     fed_samples_);
    }
    const int32_t position = first_position + (t - begin);
    if (input.positions[t] != position) {
      return Invalid("positions[", t, "] is ", input.positions[t], ", expected ", position);
    }
  }
  if (absl::Status s = CheckSlots(input, sequence, 0, input.block_tables, input.slot_mapping, kept_); !s.ok()) return s;
  if (limits_.window_tokens == 0) return absl::OkStatus();
  const int32_t oldest_read = std::max(0, first_position - limits_.window_tokens + 1);
  return CheckSlots(input, sequence, oldest_read / limits_.block_tokens, input.window_block_tables,
                    input.window_slot_mapping, window_);
}

absl::Status StepChecker::CheckSlots(const StepInput& input, int32_t sequence, int32_t first_column,
                                     const std::vector<int32_t>& tables, const std::vector<int64_t>& slots,
                                     Pool& pool) const {
  const int32_t used_blocks = (input.context_lens[sequence] + limits_.block_tokens - 1) / limits_.block_tokens;
  const int32_t* table = tables.data() + static_cast<int64_t>(sequence) * input.block_table_stride;
  for (int32_t b = first_column; b < used_blocks; ++b) {
    if (table[b] < 0 || table[b] >= pool.blocks) {
      return Invalid(pool.table_name, "[", sequence, "][", b, "] is ", table[b], ", limit ", pool.blocks);
    }
  }
  for (int32_t t = input.query_start[sequence]; t < input.query_start[sequence + 1]; ++t) {
    const int32_t position = input.positions[t];
    const int32_t table_index = position / limits_.block_tokens;
    const int32_t block = table[table_index];
    const int64_t slot = static_cast<int64_t>(block) * limits_.block_tokens + position % limits_.block_tokens;
    if (slots[t] != slot) return Invalid(pool.slot_name, "[", t, "] is ", slots[t], ", expected ", slot);
    BlockWriter& writer = pool.writers[block];
    if (writer.step != step_) {
      writer = {step_, sequence, table_index};
    } else if (writer.sequence != sequence || writer.table_index != table_index) {
      return Invalid(pool.table_name, ": block ", block, " is written by sequence ", writer.sequence, " at block ",
                     writer.table_index, " and by sequence ", sequence, " at block ", table_index);
    }
  }
  return absl::OkStatus();
}

absl::Status StepChecker::CheckSample(const StepInput& input, int32_t sample) const {
  const SampleRow& row = input.samples[sample];
  if (row.token_index < 0 || row.token_index >= input.tokens()) {
    return Invalid("samples[", sample, "].token_index is ", row.token_index, ", limit ", input.tokens());
  }
  if (row.target_token < -1 || row.target_token >= limits_.vocab_size) {
    return Invalid("samples[", sample, "].target_token is ", row.target_token, ", limit ", limits_.vocab_size);
  }
  if (row.target_token < 0 && row.params == nullptr)
    return Invalid("samples[", sample, "] has neither params nor target");
  if (row.top_logprobs < -1 || row.top_logprobs > kMaxTopLogprobs) {
    return Invalid("samples[", sample, "].top_logprobs is ", row.top_logprobs, ", limit ", kMaxTopLogprobs);
  }
  for (const int32_t token : row.forbidden_tokens) {
    if (token < 0 || token >= limits_.vocab_size) {
      return Invalid("samples[", sample, "].forbidden_tokens holds ", token, ", limit ", limits_.vocab_size);
    }
  }
  for (const PenaltyEntry& entry : row.penalties) {
    if (entry.token_id < 0 || entry.token_id >= limits_.vocab_size) {
      return Invalid("samples[", sample, "].penalties holds ", entry.token_id, ", limit ", limits_.vocab_size);
    }
  }
  const size_t mask_words = (static_cast<size_t>(limits_.vocab_size) + 31) / 32;
  if (row.allowed_tokens != nullptr && row.allowed_tokens->size() < mask_words) {
    return Invalid("samples[", sample, "].allowed_tokens has ", row.allowed_tokens->size(), " words, expected ",
                   mask_words);
  }
  if (row.params == nullptr) return absl::OkStatus();
  if (const char* field = ParamOutOfRange(*row.params); field != nullptr) {
    return Invalid("samples[", sample, "].params.", field, " is outside its range");
  }
  for (const auto& [token, bias] : row.params->logit_bias) {
    if (token < 0 || token >= limits_.vocab_size || !std::isfinite(bias)) {
      return Invalid("samples[", sample, "].logit_bias holds token ", token, " with bias ", bias, ", limit ",
                     limits_.vocab_size);
    }
  }
  return absl::OkStatus();
}

}  // namespace hadal::models
