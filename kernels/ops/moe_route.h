// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/ops/moe_scoring.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

enum class MoeTopK {
  kGreedy,              // top_k of the scores (V2-Lite, moe-16b)
  kGroupLimitedGreedy,  // best topk_group groups by their maximum, others' scores 0, then top_k (V2)
  kNoauxTc,             // score + bias for the choice; groups by the sum of their two best, others -inf (V3)
};

// Chooses experts and their weights for each token (DeepSeekMoE, arXiv:2401.06066; DeepSeek-V3, arXiv:2412.19437,
// section 2.1.2), all in float32:
//
//   p = softmax(l), sigmoid(l) or sqrt(softplus(l));  b = p + correction_bias (kNoauxTc with a bias) or p
//   restrict b to topk_group of n_group groups (n_group > 1); ids = top_k of b, best first
//   w = p at ids (kGroupLimitedGreedy: the masked p);  norm_topk_prob: w = w / (sum(w) + 1e-20);  w = w *
//   routed_scaling
//
// With expert_table the choice is given (hash routing of DeepSeek-V4): ids = expert_table[token_ids], weights as above.
// Its ids are trusted to be experts and distinct in a row (checked where it is loaded), and so are the token ids.
//
// Ties go to the lower index, for groups and for experts. The V2 rule "scale only when not normalised" is the caller's:
// it passes routed_scaling 1. A NaN score sorts below every number, so ids are valid and distinct for any input; the
// weights then show the NaN. 1 <= top_k <= experts; n_group divides experts, 1 <= topk_group <= n_group, and
// topk_group * (experts / n_group) >= top_k. Tolerance: ids exact except where two choice scores differ by less than
// 1e-6; weights 1e-5 relative (exp, log).
struct MoeRouteParams {
  TensorView logits;           // f32 [tokens, experts], row stride free
  TensorView correction_bias;  // optional f32 [experts]; only with kNoauxTc
  TensorView expert_table;     // optional i32 [vocab, top_k], contiguous; then with kGreedy only
  TensorView token_ids;        // i32 [tokens], contiguous; present with expert_table
  TensorView ids;              // i32 [tokens, top_k], contiguous, written
  TensorView weights;          // f32 [tokens, top_k], contiguous, written
  MoeScoring scoring = MoeScoring::kSoftmax;
  MoeTopK method = MoeTopK::kGreedy;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  bool norm_topk_prob = false;
  float routed_scaling = 1.0f;
};

absl::Status CheckMoeRoute(const MoeRouteParams& params);

}  // namespace hadal::kernels
