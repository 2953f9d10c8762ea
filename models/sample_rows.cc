// SPDX-License-Identifier: Apache-2.0
#include "models/sample_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "models/status_macros.h"

namespace hadal::models {
namespace {

using kernels::DType;
using kernels::TensorView;

constexpr int64_t kFixedColumns = 3;  // token, log-probability, status
constexpr int64_t kMaxTop = 20;       // SampleRow::top_logprobs

float AsFloat(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace

int64_t SampleRows::ArenaBytesFor(int64_t rows) {
  return ArenaBytes(DType::kI32, rows * (kFixedColumns + 2 * kMaxTop));
}

void SampleRows::Begin(absl::Span<const SampleRow> rows) {
  rows_ = rows;
  size_t penalties = 0;
  size_t biases = 0;
  for (const SampleRow& row : rows) {
    penalties += row.penalties.size();
    biases += row.forbidden_tokens.size() + (row.params != nullptr ? row.params->logit_bias.size() : 0);
  }
  params_.clear();
  penalties_.clear();
  biases_.clear();
  // The rows' spans point into these vectors: they must not move while they fill.
  penalties_.reserve(penalties);
  biases_.reserve(biases);
  for (const SampleRow& row : rows) {
    kernels::SampleRowParams& out = params_.emplace_back();
    out.random_counter = row.random_counter;
    out.target_token = row.target_token;
    out.top_logprobs = row.top_logprobs;
    out.temperature = 0.0f;
    if (row.params == nullptr || row.target_token >= 0) continue;  // scoring: the model's own distribution
    const SamplingParams& params = *row.params;
    out.temperature = params.temperature;
    out.top_k = params.top_k;
    out.top_p = params.top_p;
    out.min_p = params.min_p;
    out.repetition_penalty = params.repetition_penalty;
    out.frequency_penalty = params.frequency_penalty;
    out.presence_penalty = params.presence_penalty;
    out.seed = params.seed;
    if (row.allowed_tokens != nullptr) out.allowed_mask = *row.allowed_tokens;
    const size_t first_penalty = penalties_.size();
    for (const PenaltyEntry& entry : row.penalties) {
      penalties_.push_back({entry.token_id, entry.output_count, entry.in_prompt});
    }
    out.penalties = absl::MakeConstSpan(penalties_).subspan(first_penalty);
    const size_t first_bias = biases_.size();
    for (const auto& [token, bias] : params.logit_bias) biases_.push_back({token, bias});
    for (const int32_t token : row.forbidden_tokens) {
      biases_.push_back({token, -std::numeric_limits<float>::infinity()});
    }
    out.biases = absl::MakeConstSpan(biases_).subspan(first_bias);
  }
}

absl::Status SampleRows::Run(kernels::Backend& backend, Arena& arena, size_t first, const TensorView& logits,
                             StepOutput& output) {
  const int64_t count = logits.size(0);
  const absl::Span<const SampleRow> rows = rows_.subspan(first, static_cast<size_t>(count));
  int64_t top = 0;
  for (const SampleRow& row : rows) top = std::max<int64_t>(top, row.top_logprobs);

  // One device block, so that one copy brings all results back: tokens, logprobs, status, then both top tables.
  const Arena::Scope scope(arena);
  HADAL_ASSIGN_OR_RETURN(const TensorView block, arena.Take(DType::kI32, {count * (kFixedColumns + 2 * top)}));
  int32_t* base = block.as<int32_t>();
  kernels::SampleParams params;
  params.logits = logits;
  params.rows = this->params().subspan(first, rows.size());
  params.out_tokens = TensorView(base, DType::kI32, {count});
  params.out_logprobs = TensorView(base + count, DType::kF32, {count});
  params.out_status = TensorView(base + 2 * count, DType::kI32, {count});
  if (top > 0) {
    params.out_top_tokens = TensorView(base + 3 * count, DType::kI32, {count, top});
    params.out_top_logprobs = TensorView(base + (3 + top) * count, DType::kF32, {count, top});
  }
  HADAL_RETURN_IF_ERROR(backend.Sample(params));
  host_.resize(block.size(0));
  HADAL_RETURN_IF_ERROR(backend.Download(host_.data(), base, block.bytes()));

  for (int64_t r = 0; r < count; ++r) {
    SampleResult& result = output.samples.emplace_back();
    result.faulty = host_[2 * count + r] != kernels::kSampleOk;
    if (result.faulty) continue;
    result.token_id = host_[r];
    if (rows[r].top_logprobs < 0) continue;
    result.logprob = AsFloat(host_[count + r]);
    result.top.reserve(rows[r].top_logprobs);
    for (int64_t i = 0; i < rows[r].top_logprobs; ++i) {
      const int32_t token = host_[3 * count + r * top + i];
      if (token < 0) break;  // the vocabulary holds fewer
      result.top.push_back({token, AsFloat(host_[(3 + top) * count + r * top + i])});
    }
  }
  return absl::OkStatus();
}

}  // namespace hadal::models
