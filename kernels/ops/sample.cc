// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/sample.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {
namespace {

absl::Status CheckRow(int64_t index, const SampleRowParams& row, int64_t vocab, int64_t top_columns) {
  const auto bad = [&](const char* name, const char* expected, double found) {
    return absl::InvalidArgumentError(
        absl::StrCat("sample: row ", index, ": ", name, ": expected ", expected, ", found ", found));
  };
  if (!(row.temperature >= 0) || std::isinf(row.temperature))
    return bad("temperature", "a value >= 0", row.temperature);
  if (!(row.top_p > 0 && row.top_p <= 1)) return bad("top_p", "a value in (0, 1]", row.top_p);
  if (!(row.min_p >= 0 && row.min_p <= 1)) return bad("min_p", "a value in [0, 1]", row.min_p);
  if (!(row.repetition_penalty > 0) || std::isinf(row.repetition_penalty)) {
    return bad("repetition_penalty", "a value > 0", row.repetition_penalty);
  }
  if (!std::isfinite(row.frequency_penalty)) return bad("frequency_penalty", "a finite value", row.frequency_penalty);
  if (!std::isfinite(row.presence_penalty)) return bad("presence_penalty", "a finite value", row.presence_penalty);
  if (row.target_token >= vocab) return bad("target_token", "an id below the vocabulary size", row.target_token);
  if (row.top_logprobs > top_columns)
    return bad("top_logprobs", "at most the columns of out_top_tokens", row.top_logprobs);
  for (const SamplePenalty& penalty : row.penalties) {
    if (penalty.token_id < 0 || penalty.token_id >= vocab)
      return bad("penalties", "ids in the vocabulary", penalty.token_id);
  }
  for (const SampleBias& bias : row.biases) {
    if (bias.token_id < 0 || bias.token_id >= vocab) return bad("biases", "ids in the vocabulary", bias.token_id);
    if (std::isnan(bias.bias) || bias.bias == INFINITY) return bad("biases", "finite values or -infinity", bias.bias);
  }
  const int64_t words = (vocab + 31) / 32;
  if (!row.allowed_mask.empty() && static_cast<int64_t>(row.allowed_mask.size()) < words) {
    return bad("allowed_mask", "a bit for each token", static_cast<double>(row.allowed_mask.size()) * 32);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSample(const SampleParams& p) {
  const char* op = "sample";
  const int64_t rows = static_cast<int64_t>(p.rows.size());
  if (absl::Status s = FirstError(
          {CheckShape(op, "logits", p.logits, {rows, kAnySize}), CheckDType(op, "logits", p.logits, DType::kF32),
           CheckPositive(op, "vocab", p.logits.size(1)), CheckContiguous(op, "out_tokens", p.out_tokens, {rows}),
           CheckDType(op, "out_tokens", p.out_tokens, DType::kI32),
           CheckContiguous(op, "out_logprobs", p.out_logprobs, {rows}),
           CheckDType(op, "out_logprobs", p.out_logprobs, DType::kF32),
           CheckContiguous(op, "out_status", p.out_status, {rows}),
           CheckDType(op, "out_status", p.out_status, DType::kI32)});
      !s.ok()) {
    return s;
  }
  int64_t columns = 0;
  if (p.out_top_tokens.present() || p.out_top_logprobs.present()) {
    if (absl::Status s = FirstError({CheckContiguous(op, "out_top_tokens", p.out_top_tokens, {rows, kAnySize}),
                                     CheckDType(op, "out_top_tokens", p.out_top_tokens, DType::kI32),
                                     CheckDType(op, "out_top_logprobs", p.out_top_logprobs, DType::kF32)});
        !s.ok()) {
      return s;
    }
    columns = p.out_top_tokens.size(1);
    if (absl::Status s = CheckContiguous(op, "out_top_logprobs", p.out_top_logprobs, {rows, columns}); !s.ok())
      return s;
    if (columns > kMaxTopLogprobs) {
      return absl::InvalidArgumentError(
          absl::StrCat("sample: out_top_tokens: expected at most ", kMaxTopLogprobs, " columns, found ", columns));
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    if (absl::Status s = CheckRow(i, p.rows[i], p.logits.size(1), columns); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace hadal::kernels
