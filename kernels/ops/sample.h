// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/ops/sample_status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// A token that the penalties of one row know about.
struct SamplePenalty {
  int32_t token_id = 0;
  int32_t output_count = 0;  // times the output holds it so far
  bool in_prompt = false;
};

// Added to one logit. -infinity forbids the token.
struct SampleBias {
  int32_t token_id = 0;
  float bias = 0.0f;
};

// What to do with one row of logits. The spans point to host memory.
struct SampleRowParams {
  float temperature = 1.0f;         // 0: greedy, ties to the lowest id
  int32_t top_k = 0;                // <= 0 or >= vocab: off; ties at the k-th place go to the lower id
  float top_p = 1.0f;               // (0, 1]; the token that reaches top_p is kept
  float min_p = 0.0f;               // [0, 1]; tokens less likely than min_p times the best are dropped
  float repetition_penalty = 1.0f;  // > 0; positive logits are divided, negative ones multiplied
  float frequency_penalty = 0.0f;   // times output_count, subtracted
  float presence_penalty = 0.0f;    // once if output_count > 0, subtracted
  uint64_t seed = 0;                // with random_counter: the only source of randomness
  uint64_t random_counter = 0;      // position of the sampled token in its sequence
  int32_t target_token = -1;        // >= 0: no sampling, report this token's logprob
  int32_t top_logprobs = -1;        // -1: no logprobs for this row; else chosen token plus this many best
  absl::Span<const SamplePenalty> penalties;
  absl::Span<const SampleBias> biases;
  absl::Span<const uint32_t> allowed_mask;  // bit t % 32 of word t / 32: token t may be sampled; empty: all may
};

inline constexpr int32_t kMaxTopLogprobs = 64;

// Chooses a token for each row. In order: penalties, bias, mask, temperature, top-k, top-p (over what top-k left,
// renormalised), min-p, draw. The draw is the inverse of the cumulative distribution in id order at
// u = SampleUniform(seed, random_counter), so a row's token does not depend on the batch it is in.
//
// Log-probabilities are those of the model: log softmax of the logits as given, before all of the above.
//   out_tokens      the sampled token, or target_token; -1 for a row with a fault
//   out_logprobs    logprob of that token when row.top_logprobs >= 0 (0 otherwise)
//   out_top_*       row.top_logprobs best tokens, best first, ties to the lower id; the rest is -1 / 0
// A fault ends only its own row: its status says which, all its other outputs are -1 / 0.
//
// logits are not changed. `rows` and what it points to is consumed before the call returns. Zero rows: no work.
// Errors: a value outside its range, a token id outside [0, vocab), a short mask; nothing is written then.
// Tolerance against the reference: greedy tokens exact on exact logits; logprobs 1e-4 absolute; a draw may differ where
// u lies within 1e-5 of a step of the cumulative distribution, and where a value lies that near to a top-p or min-p
// bound.
struct SampleParams {
  TensorView logits;  // f32 [rows, vocab], row stride free
  absl::Span<const SampleRowParams> rows;
  TensorView out_tokens;        // i32 [rows], contiguous, written
  TensorView out_logprobs;      // f32 [rows], contiguous, written
  TensorView out_top_tokens;    // optional i32 [rows, n], contiguous, written; n >= every row's top_logprobs
  TensorView out_top_logprobs;  // optional f32 [rows, n], contiguous, written; present with out_top_tokens
  TensorView out_status;        // i32 [rows], contiguous, written
};

absl::Status CheckSample(const SampleParams& params);

}  // namespace hadal::kernels
