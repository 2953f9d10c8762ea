// SPDX-License-Identifier: Apache-2.0
#include "models/sample_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace hadal::models {
namespace {

using kernels::DType;
using kernels::TensorView;

constexpr int64_t kMaxTop = 20;  // SampleRow::top_logprobs

float AsFloat(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace

int64_t SampleRows::MostBytes(int64_t rows) { return SampleLayout{rows, kMaxTop}.bytes(); }

void SampleRows::Begin(absl::Span<const SampleRow> rows) {
  layout_ = {.rows = static_cast<int64_t>(rows.size())};
  size_t penalties = 0;
  size_t biases = 0;
  for (const SampleRow& row : rows) {
    layout_.top = std::max<int64_t>(layout_.top, row.top_logprobs);
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

absl::Status SampleRows::Run(kernels::Backend& backend, int64_t first, const TensorView& logits, void* results) const {
  const int64_t rows = layout_.rows, top = layout_.top, count = logits.size(0);
  int32_t* const base = static_cast<int32_t*>(results);
  kernels::SampleParams params;
  params.logits = logits;
  params.rows = this->params().subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  params.out_tokens = TensorView(base + first, DType::kI32, {count});
  params.out_logprobs = TensorView(base + rows + first, DType::kF32, {count});
  params.out_status = TensorView(base + 2 * rows + first, DType::kI32, {count});
  if (top > 0) {
    params.out_top_tokens = TensorView(base + 3 * rows + first * top, DType::kI32, {count, top});
    params.out_top_logprobs = TensorView(base + (3 + top) * rows + first * top, DType::kF32, {count, top});
  }
  return backend.Sample(params);
}

std::vector<SampleResult> SampleRows::Read(const SampleLayout& layout, absl::Span<const SampleRow> rows,
                                           const void* results) {
  const int64_t count = layout.rows, top = layout.top;
  const int32_t* const words = static_cast<const int32_t*>(results);
  std::vector<SampleResult> samples(rows.size());
  for (int64_t r = 0; r < count; ++r) {
    SampleResult& sample = samples[static_cast<size_t>(r)];
    sample.faulty = words[2 * count + r] != kernels::kSampleOk;
    if (sample.faulty) continue;
    sample.token_id = words[r];
    const int32_t wanted = rows[static_cast<size_t>(r)].top_logprobs;
    if (wanted < 0) continue;
    sample.logprob = AsFloat(words[count + r]);
    sample.top.reserve(static_cast<size_t>(wanted));
    for (int64_t i = 0; i < wanted; ++i) {
      const int32_t token = words[3 * count + r * top + i];
      if (token < 0) break;  // the vocabulary holds fewer
      sample.top.push_back({token, AsFloat(words[(3 + top) * count + r * top + i])});
    }
  }
  return samples;
}

}  // namespace hadal::models
