// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"
#include "models/blocks/linear.h"
#include "models/blocks/norm.h"

namespace hadal::models {

// Token ids to hidden states.
class TokenEmbedding {
 public:
  // Takes `name`.weight, [vocab, hidden].
  static absl::StatusOr<TokenEmbedding> Load(const LoadContext& context, const std::string& name);

  // ids i32 [tokens], out [tokens, hidden].
  absl::Status Forward(kernels::Backend& backend, const kernels::TensorView& ids, const kernels::TensorView& out) const;

  const checkpoint::LoadedTensor& table() const { return table_; }

 private:
  checkpoint::LoadedTensor table_;
};

// Hidden states to logits: final norm, then the output matrix (the embedding's own when they are tied).
class LmHead {
 public:
  static absl::StatusOr<LmHead> Load(const LoadContext& context, const std::string& norm_name,
                                     const std::string& head_name, const TokenEmbedding& embedding,
                                     NormProduct norm_product = NormProduct::kRounded);

  // hidden [rows, hidden] is normalised in place; logits f32 [rows, vocab].
  absl::Status Forward(kernels::Backend& backend, const kernels::TensorView& hidden,
                       const kernels::TensorView& logits) const;

 private:
  RmsNorm norm_;
  Linear head_;
};

}  // namespace hadal::models
