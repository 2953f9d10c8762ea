// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/network.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

using kernels::DType;
using kernels::TensorView;

V4Network::V4Network(const LoadContext& context, const config::HybridAttentionConfig& attention)
    : backend_(context.backend),
      dtype_(context.dtype()),
      vocab_size_(context.config.vocab_size),
      hidden_size_(context.config.hidden_size),
      streams_(context.config.hyper_connections->streams),
      edges_{.takes_state = !context.first(),
             .gives_state = !context.last(),
             .state_width = streams_ * hidden_size_,
             .state_dtype = dtype_},
      kv_layout_(LayoutOf(V4CacheShapes(attention, context.dtype(), context.layers()), V4WindowTokens(attention))),
      caches_(attention, context.dtype(), context.layers()),
      planner_(attention) {}

absl::StatusOr<V4Network::Layer> V4Network::LoadLayer(const LoadContext& context,
                                                      const config::HybridAttentionConfig& attention, int64_t number,
                                                      const V4Attention::Shared& shared) {
  const std::string name = absl::StrCat("layers.", number);
  const double eps = context.config.rms_norm_eps;
  const int64_t hidden = context.config.hidden_size;
  Layer layer;
  HADAL_ASSIGN_OR_RETURN(
      layer.attention_frame.connection,
      HyperConnection::Load(context, absl::StrCat(name, ".hc_attn"), HyperConnection::Use::kSublayer));
  HADAL_ASSIGN_OR_RETURN(layer.attention_frame.norm,
                         RmsNorm::Load(context, absl::StrCat(name, ".attn_norm"), hidden, eps, NormProduct::kFloat32));
  HADAL_ASSIGN_OR_RETURN(layer.attention,
                         V4Attention::Load(context, attention, absl::StrCat(name, ".attn"), number, shared));
  HADAL_ASSIGN_OR_RETURN(
      layer.feed_forward_frame.connection,
      HyperConnection::Load(context, absl::StrCat(name, ".hc_ffn"), HyperConnection::Use::kSublayer));
  HADAL_ASSIGN_OR_RETURN(layer.feed_forward_frame.norm,
                         RmsNorm::Load(context, absl::StrCat(name, ".ffn_norm"), hidden, eps, NormProduct::kFloat32));
  HADAL_ASSIGN_OR_RETURN(layer.feed_forward, Moe::Load(context, absl::StrCat(name, ".ffn"),
                                                       {.swiglu = {.gate = "w1", .up = "w3", .down = "w2"},
                                                        .correction_bias = "gate.bias",
                                                        .hash_routing = context.config.IsHashLayer(number)}));
  return layer;
}

absl::StatusOr<std::unique_ptr<V4Network>> V4Network::Load(const LoadContext& context, const FamilyOptions& options) {
  const config::ModelConfig& config = context.config;
  HADAL_ASSIGN_OR_RETURN(const config::HybridAttentionConfig* attention,
                         AttentionOf<config::HybridAttentionConfig>(config));
  if (!config.hyper_connections || !config.moe) {
    return absl::InvalidArgumentError("deepseek_v4: the configuration lacks its hyper-connections or experts");
  }
  std::unique_ptr<V4Network> network(new V4Network(context, *attention));
  V4Attention::Shared shared = {
      .sliding_rope = nullptr, .compressed_rope = nullptr, .caches = &network->caches_, .planner = &network->planner_};
  HADAL_ASSIGN_OR_RETURN(shared.sliding_rope,
                         RopeCache::Create(context, attention->sliding_rope, options.max_model_len));
  HADAL_ASSIGN_OR_RETURN(shared.compressed_rope,
                         RopeCache::Create(context, attention->compressed_rope, options.max_model_len));
  if (context.first() || (context.last() && config.tie_word_embeddings)) {
    HADAL_ASSIGN_OR_RETURN(network->embedding_, TokenEmbedding::Load(context, "embed"));
  }
  for (int64_t i = context.layers().begin; i < context.layers().end; ++i) {
    HADAL_ASSIGN_OR_RETURN(Layer layer, LoadLayer(context, *attention, i, shared));
    network->layers_.push_back(std::move(layer));
  }
  if (!context.last()) return network;
  HADAL_ASSIGN_OR_RETURN(network->last_collapse_,
                         HyperConnection::Load(context, "hc_head", HyperConnection::Use::kLastCollapse));
  HADAL_ASSIGN_OR_RETURN(network->head_,
                         LmHead::Load(context, "norm", "head", network->embedding_, NormProduct::kFloat32));
  return network;
}

absl::Status V4Network::AllocateKvCache(const KvCacheSize& size) {
  planner_.set_block_tokens(size.block_tokens);
  return caches_.Allocate(backend_, size);
}

absl::StatusOr<TensorView> V4Network::BeginStreams(const ForwardContext& context) const {
  const int64_t tokens = context.batch.tokens();
  if (edges_.takes_state) return TensorView(context.state.data, dtype_, {tokens, streams_, hidden_size_});
  HADAL_ASSIGN_OR_RETURN(const TensorView streams, context.arena.Take(dtype_, {tokens, streams_, hidden_size_}));
  for (int64_t i = 0; i < streams_; ++i) {
    TensorView stream = streams.Slice(1, i, 1);  // [tokens, hidden] with the stride of all streams
    stream.rank = 2;
    stream.sizes[1] = hidden_size_;
    stream.strides[1] = 1;
    HADAL_RETURN_IF_ERROR(embedding_.Forward(context.backend, context.batch.token_ids, stream));
  }
  return streams;
}

absl::StatusOr<V4Network::Buffers> V4Network::TakeBuffers(const ForwardContext& context,
                                                          const TensorView& streams) const {
  Arena& arena = context.arena;
  const int64_t tokens = context.batch.tokens();
  Buffers buffers;
  buffers.streams = streams;
  HADAL_ASSIGN_OR_RETURN(buffers.input, arena.Take(dtype_, {tokens, hidden_size_}));
  HADAL_ASSIGN_OR_RETURN(buffers.output, arena.Take(dtype_, {tokens, hidden_size_}));
  HADAL_ASSIGN_OR_RETURN(buffers.mix.post, arena.Take(DType::kF32, {tokens, streams_}));
  HADAL_ASSIGN_OR_RETURN(buffers.mix.comb, arena.Take(DType::kF32, {tokens, streams_, streams_}));
  return buffers;
}

template <typename Block>
absl::Status V4Network::RunSublayer(const ForwardContext& context, const Sublayer& frame, const Block& block,
                                    const Buffers& buffers) {
  HADAL_RETURN_IF_ERROR(frame.connection.Collapse(context, buffers.streams, buffers.input, buffers.mix));
  HADAL_RETURN_IF_ERROR(frame.norm.Forward(context.backend, buffers.input, buffers.input));
  HADAL_RETURN_IF_ERROR(block.Forward(context, buffers.input, buffers.output));
  return context.backend.HyperExpand(
      {.streams = buffers.streams, .x = buffers.output, .post = buffers.mix.post, .comb = buffers.mix.comb});
}

absl::StatusOr<TensorView> V4Network::Forward(const ForwardContext& context) {
  const int64_t tokens = context.batch.tokens();
  TensorView result, streams;
  if (edges_.gives_state) {
    HADAL_ASSIGN_OR_RETURN(streams, BeginStreams(context));
    result = TensorView(streams.data, dtype_, {tokens, streams_ * hidden_size_});
  } else {
    HADAL_ASSIGN_OR_RETURN(result, context.arena.Take(dtype_, {tokens, hidden_size_}));
  }
  const Arena::Scope scope(context.arena);
  if (!edges_.gives_state) {
    HADAL_ASSIGN_OR_RETURN(streams, BeginStreams(context));
  }
  HADAL_ASSIGN_OR_RETURN(const Buffers buffers, TakeBuffers(context, streams));
  for (const Layer& layer : layers_) {
    HADAL_RETURN_IF_ERROR(RunSublayer(context, layer.attention_frame, *layer.attention, buffers));
    HADAL_RETURN_IF_ERROR(RunSublayer(context, layer.feed_forward_frame, *layer.feed_forward, buffers));
  }
  if (!edges_.gives_state) HADAL_RETURN_IF_ERROR(last_collapse_.Collapse(context, streams, result, {}));
  return result;
}

absl::Status V4Network::Head(kernels::Backend& backend, const TensorView& hidden, const TensorView& logits) {
  return head_.Forward(backend, hidden, logits);
}

}  // namespace hadal::models
