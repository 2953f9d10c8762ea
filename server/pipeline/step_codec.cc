// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/step_codec.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/pipeline/byte_codec.h"

namespace hadal::pipeline {
namespace {

using models::PenaltyEntry;
using models::SampleResult;
using models::SampleRow;
using models::SamplingParams;
using models::StepInput;

constexpr uint64_t kMaxTop = 20;       // SampleRow::top_logprobs
constexpr int64_t kSampleBytes = 160;  // of a row without its lists, more than it takes
constexpr int64_t kPenaltyBytes = 9;   // token, count, flag
constexpr int64_t kBiasBytes = 8;      // token, value
constexpr int64_t kResultBytes = 13;   // of a result without its list
constexpr int64_t kLogprobBytes = 8;   // token, value
constexpr int64_t kFactBytes = 24;

uint64_t MaskWords(const StepLimits& limits) { return (static_cast<uint64_t>(limits.vocab_size) + 31) / 32; }

// Rows of a block table without the zeros that fill them up.
void PutTables(const StepInput& input, const std::vector<int32_t>& tables, ByteWriter& writer) {
  writer.PutBool(!tables.empty());
  if (tables.empty()) return;
  const auto stride = static_cast<size_t>(input.block_table_stride);
  for (int32_t s = 0; s < input.sequences(); ++s) {
    absl::Span<const int32_t> row = absl::MakeConstSpan(tables).subspan(s * stride, stride);
    while (!row.empty() && row.back() == 0) row.remove_suffix(1);
    writer.PutArray(row);
  }
}

void GetTables(const char* what, const StepInput& input, std::vector<int32_t>* tables, ByteReader& reader) {
  if (!reader.GetBool()) return;
  const auto stride = static_cast<size_t>(input.block_table_stride);
  tables->assign(stride * static_cast<size_t>(input.sequences()), 0);
  std::vector<int32_t> row;
  for (size_t begin = 0; begin < tables->size() && reader.ok(); begin += stride) {
    reader.GetArray(what, stride, &row);
    std::copy(row.begin(), row.end(), tables->begin() + static_cast<ptrdiff_t>(begin));
  }
}

void PutParams(const SamplingParams& params, ByteWriter& writer) {
  writer.Put(params.temperature);
  writer.Put(params.top_k);
  writer.Put(params.top_p);
  writer.Put(params.min_p);
  writer.Put(params.repetition_penalty);
  writer.Put(params.frequency_penalty);
  writer.Put(params.presence_penalty);
  writer.Put(params.seed);
  writer.Put(static_cast<uint32_t>(params.logit_bias.size()));
  for (const auto& [token, bias] : params.logit_bias) {
    writer.Put(token);
    writer.Put(bias);
  }
}

std::shared_ptr<const SamplingParams> GetParams(const StepLimits& limits, ByteReader& reader) {
  auto params = std::make_shared<SamplingParams>();
  params->temperature = reader.Get<float>();
  params->top_k = reader.Get<int32_t>();
  params->top_p = reader.Get<float>();
  params->min_p = reader.Get<float>();
  params->repetition_penalty = reader.Get<float>();
  params->frequency_penalty = reader.Get<float>();
  params->presence_penalty = reader.Get<float>();
  params->seed = reader.Get<uint64_t>();
  params->logit_bias.resize(reader.GetCount("logit_bias", limits.vocab_size, kBiasBytes));
  for (auto& [token, bias] : params->logit_bias) {
    token = reader.Get<int32_t>();
    bias = reader.Get<float>();
  }
  return params;
}

void PutSample(const SampleRow& row, ByteWriter& writer) {
  writer.Put(row.token_index);
  writer.Put(row.random_counter);
  writer.Put(row.target_token);
  writer.Put(row.top_logprobs);
  writer.PutBool(row.params != nullptr);
  if (row.params != nullptr) PutParams(*row.params, writer);
  writer.Put(static_cast<uint32_t>(row.penalties.size()));
  for (const PenaltyEntry& entry : row.penalties) {
    writer.Put(entry.token_id);
    writer.Put(entry.output_count);
    writer.PutBool(entry.in_prompt);
  }
  writer.PutArray(row.forbidden_tokens);
  writer.PutBool(row.allowed_tokens != nullptr);
  if (row.allowed_tokens != nullptr) writer.PutArray(*row.allowed_tokens);
}

void GetSample(const StepLimits& limits, SampleRow& row, ByteReader& reader) {
  row.token_index = reader.Get<int32_t>();
  row.random_counter = reader.Get<uint64_t>();
  row.target_token = reader.Get<int32_t>();
  row.top_logprobs = reader.Get<int32_t>();
  if (reader.GetBool()) row.params = GetParams(limits, reader);
  row.penalties.resize(reader.GetCount("penalties", limits.vocab_size, kPenaltyBytes));
  for (PenaltyEntry& entry : row.penalties) {
    entry.token_id = reader.Get<int32_t>();
    entry.output_count = reader.Get<int32_t>();
    entry.in_prompt = reader.GetBool();
  }
  reader.GetArray("forbidden_tokens", limits.vocab_size, &row.forbidden_tokens);
  if (reader.GetBool()) {
    std::vector<uint32_t> words;
    reader.GetArray("allowed_tokens", MaskWords(limits), &words);
    row.allowed_tokens = std::make_shared<const std::vector<uint32_t>>(std::move(words));
  }
}

}  // namespace

int64_t StepLimits::MaxStepBytes() const {
  const int64_t vocab = vocab_size;
  const int64_t row =
      kSampleBytes + vocab * (kPenaltyBytes + kBiasBytes + 4) + static_cast<int64_t>(MaskWords(*this)) * 4;
  // Scoring rows have no lists, so that the bound is one of what a batch may sample.
  return 256 + int64_t{max_tokens} * 32 + max_sequences * (16 + 2 * (max_blocks() + 1) * 4) +
         max_tokens * kSampleBytes + max_sequences * row;
}

int64_t StepLimits::MaxOutputBytes() const {
  return 256 + max_samples() * (kResultBytes + 4 + static_cast<int64_t>(kMaxTop) * kLogprobBytes) +
         kMaxParts * kFactBytes;
}

void EncodeStep(const StepInput& input, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  writer.PutArray(input.token_ids);
  writer.PutArray(input.positions);
  writer.PutArray(input.slot_mapping);
  writer.PutArray(input.query_start);
  writer.PutArray(input.context_lens);
  writer.Put(input.block_table_stride);
  PutTables(input, input.block_tables, writer);
  writer.PutArray(input.window_slot_mapping);
  PutTables(input, input.window_block_tables, writer);
  writer.Put(static_cast<uint32_t>(input.samples.size()));
  for (const SampleRow& row : input.samples) PutSample(row, writer);
}

absl::StatusOr<StepInput> DecodeStep(absl::Span<const std::byte> bytes, const StepLimits& limits) {
  ByteReader reader(bytes);
  StepInput input;
  reader.GetArray("token_ids", limits.max_tokens, &input.token_ids);
  reader.GetArray("positions", limits.max_tokens, &input.positions);
  reader.GetArray("slot_mapping", limits.max_tokens, &input.slot_mapping);
  reader.GetArray("query_start", uint64_t{1} + limits.max_sequences, &input.query_start);
  reader.GetArray("context_lens", limits.max_sequences, &input.context_lens);
  input.block_table_stride = reader.Get<int32_t>();
  if (input.block_table_stride < 0 || input.block_table_stride > limits.max_blocks()) {
    reader.Fail(absl::StrCat("block_table_stride: ", input.block_table_stride, " blocks, limit ", limits.max_blocks()));
  }
  if (reader.ok()) GetTables("block_tables", input, &input.block_tables, reader);
  reader.GetArray("window_slot_mapping", limits.max_tokens, &input.window_slot_mapping);
  if (reader.ok()) GetTables("window_block_tables", input, &input.window_block_tables, reader);
  input.samples.resize(reader.GetCount("samples", limits.max_samples(), sizeof(int32_t)));
  for (SampleRow& row : input.samples) {
    if (!reader.ok()) break;
    GetSample(limits, row, reader);
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return input;
}

void EncodeResult(const StepResult& result, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  writer.Put(static_cast<uint32_t>(result.output.samples.size()));
  for (const SampleResult& sample : result.output.samples) {
    writer.Put(sample.token_id);
    writer.Put(sample.logprob);
    writer.PutBool(sample.faulty);
    writer.Put(static_cast<uint32_t>(sample.top.size()));
    for (const models::TokenLogprob& top : sample.top) {
      writer.Put(top.token_id);
      writer.Put(top.logprob);
    }
  }
  writer.Put(static_cast<uint32_t>(result.facts.size()));
  for (const PartFacts& facts : result.facts) {
    writer.Put(facts.busy_us);
    writer.Put(facts.wait_us);
    writer.Put(facts.sent_bytes);
  }
}

absl::StatusOr<StepResult> DecodeResult(absl::Span<const std::byte> bytes, const StepLimits& limits) {
  ByteReader reader(bytes);
  StepResult result;
  result.output.samples.resize(reader.GetCount("samples", limits.max_samples(), kResultBytes));
  for (SampleResult& sample : result.output.samples) {
    if (!reader.ok()) break;
    sample.token_id = reader.Get<int32_t>();
    sample.logprob = reader.Get<float>();
    sample.faulty = reader.GetBool();
    sample.top.resize(reader.GetCount("top", kMaxTop, kLogprobBytes));
    for (models::TokenLogprob& top : sample.top) {
      top.token_id = reader.Get<int32_t>();
      top.logprob = reader.Get<float>();
    }
  }
  result.facts.resize(reader.GetCount("facts", kMaxParts, kFactBytes));
  for (PartFacts& facts : result.facts) {
    facts.busy_us = reader.Get<uint64_t>();
    facts.wait_us = reader.Get<uint64_t>();
    facts.sent_bytes = reader.Get<uint64_t>();
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return result;
}

}  // namespace hadal::pipeline
