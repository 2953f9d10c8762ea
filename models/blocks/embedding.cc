// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/embedding.h"

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<TokenEmbedding> TokenEmbedding::Load(const LoadContext& context, const std::string& name) {
  TokenEmbedding embedding;
  const config::ModelConfig& config = context.config;
  const auto role =
      config.tie_word_embeddings ? checkpoint::TensorRole::kOutputHead : checkpoint::TensorRole::kEmbedding;
  HADAL_ASSIGN_OR_RETURN(
      embedding.table_,
      context.loader.Take({absl::StrCat(name, ".weight"), {config.vocab_size, config.hidden_size}, role}));
  return embedding;
}

absl::Status TokenEmbedding::Forward(kernels::Backend& backend, const kernels::TensorView& ids,
                                     const kernels::TensorView& out) const {
  return backend.Embedding({.ids = ids, .table = table_.view(), .out = out});
}

absl::StatusOr<LmHead> LmHead::Load(const LoadContext& context, const std::string& norm_name,
                                    const std::string& head_name, const TokenEmbedding& embedding,
                                    NormProduct norm_product) {
  const config::ModelConfig& config = context.config;
  LmHead head;
  HADAL_ASSIGN_OR_RETURN(head.norm_,
                         RmsNorm::Load(context, norm_name, config.hidden_size, config.rms_norm_eps, norm_product));
  if (config.tie_word_embeddings) {
    head.head_ = Linear(embedding.table());
  } else {
    HADAL_ASSIGN_OR_RETURN(head.head_, Linear::Load(context, head_name,
                                                    {.out = config.vocab_size,
                                                     .in = config.hidden_size,
                                                     .role = checkpoint::TensorRole::kOutputHead}));
  }
  return head;
}

absl::Status LmHead::Forward(kernels::Backend& backend, const kernels::TensorView& hidden,
                             const kernels::TensorView& logits) const {
  HADAL_RETURN_IF_ERROR(norm_.Forward(backend, hidden, hidden));
  return head_.Forward(backend, hidden, logits);
}

}  // namespace hadal::models
