// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/decoder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

using kernels::TensorView;

Decoder::Decoder(const LoadContext& context, Parts parts)
    : parts_(std::move(parts)),
      backend_(context.backend),
      dtype_(context.dtype()),
      vocab_size_(context.config.vocab_size),
      hidden_size_(context.config.hidden_size),
      edges_{.takes_state = !context.first(),
             .gives_state = !context.last(),
             .state_width = context.config.hidden_size,
             .state_dtype = context.dtype()} {
  for (const std::unique_ptr<PagedCache>& cache : parts_.caches) kv_layout_.caches.push_back(cache->shape().spec());
  kv_layout_.window_tokens = parts_.window_tokens;
}

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Load(const LoadContext& context, Parts parts) {
  std::unique_ptr<Decoder> decoder(new Decoder(context, std::move(parts)));
  const double eps = context.config.rms_norm_eps;
  const int64_t hidden = context.config.hidden_size;
  if (context.first() || (context.last() && context.config.tie_word_embeddings)) {
    HADAL_ASSIGN_OR_RETURN(decoder->embedding_, TokenEmbedding::Load(context, "model.embed_tokens"));
  }
  for (int64_t i = context.layers().begin; i < context.layers().end; ++i) {
    const std::string name = absl::StrCat("model.layers.", i);
    Layer& layer = decoder->layers_.emplace_back();
    HADAL_ASSIGN_OR_RETURN(layer.input_norm,
                           RmsNorm::Load(context, absl::StrCat(name, ".input_layernorm"), hidden, eps));
    HADAL_ASSIGN_OR_RETURN(layer.attention, decoder->parts_.attention(i, name));
    HADAL_ASSIGN_OR_RETURN(layer.post_attention_norm,
                           RmsNorm::Load(context, absl::StrCat(name, ".post_attention_layernorm"), hidden, eps));
    HADAL_ASSIGN_OR_RETURN(layer.feed_forward, decoder->parts_.feed_forward(i, name));
  }
  if (context.last()) {
    HADAL_ASSIGN_OR_RETURN(decoder->head_, LmHead::Load(context, "model.norm", "lm_head", decoder->embedding_));
  }
  // They borrow the load context, which ends with this call.
  decoder->parts_.attention = nullptr;
  decoder->parts_.feed_forward = nullptr;
  return decoder;
}

absl::Status Decoder::AllocateKvCache(const KvCacheSize& size) {
  for (const std::unique_ptr<PagedCache>& cache : parts_.caches) {
    HADAL_RETURN_IF_ERROR(cache->Allocate(backend_, size));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorView> Decoder::Forward(const ForwardContext& context) {
  kernels::Backend& backend = context.backend;
  const int64_t tokens = context.batch.tokens();
  TensorView residual = context.state;
  if (!edges_.takes_state) {
    HADAL_ASSIGN_OR_RETURN(residual, context.arena.Take(dtype_, {tokens, hidden_size_}));
    HADAL_RETURN_IF_ERROR(embedding_.Forward(backend, context.batch.token_ids, residual));
  }
  const Arena::Scope scope(context.arena);
  HADAL_ASSIGN_OR_RETURN(const TensorView input, context.arena.Take(dtype_, {tokens, hidden_size_}));
  HADAL_ASSIGN_OR_RETURN(const TensorView output, context.arena.Take(dtype_, {tokens, hidden_size_}));

  TensorView delta;  // a block's output that is not yet in the residual stream; absent before the first block
  for (const Layer& layer : layers_) {
    HADAL_RETURN_IF_ERROR(layer.input_norm.AddAndForward(backend, delta, residual, input));
    HADAL_RETURN_IF_ERROR(layer.attention->Forward(context, input, output));
    delta = output;
    HADAL_RETURN_IF_ERROR(layer.post_attention_norm.AddAndForward(backend, delta, residual, input));
    HADAL_RETURN_IF_ERROR(layer.feed_forward->Forward(context, input, output));
  }
  HADAL_RETURN_IF_ERROR(RmsNorm::Add(backend, delta, residual));
  return residual;
}

absl::Status Decoder::Head(kernels::Backend& backend, const TensorView& hidden, const TensorView& logits) {
  return head_.Forward(backend, hidden, logits);
}

}  // namespace hadal::models
