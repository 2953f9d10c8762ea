// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "models/blocks/embedding.h"
#include "models/blocks/moe.h"
#include "models/blocks/network.h"
#include "models/blocks/norm.h"
#include "models/families/deepseek_v4/attention.h"
#include "models/families/deepseek_v4/caches.h"
#include "models/families/deepseek_v4/hyper_connection.h"
#include "models/families/deepseek_v4/step_planner.h"
#include "models/families/family.h"

namespace hadal::models {

// DeepSeek-V4 (arXiv:2606.19348): the residual state of a token is several streams. Each sublayer takes a mixture
// of them and gives its output back to all; a last collapse before the output norm makes one of them.
//   X = copies of the embedding
//   for each layer and each of attention, feed-forward: in, mix = collapse(X); X = expand(sublayer(norm(in)), X, mix)
// Between two layers the state of a token is X.
class V4Network : public Network {
 public:
  // Takes embed, norm, head, hc_head_* and layers.N.{attn_norm, attn, ffn_norm, ffn, hc_attn_*, hc_ffn_*}; of these
  // what LoadContext::part says.
  static absl::StatusOr<std::unique_ptr<V4Network>> Load(const LoadContext& context, const FamilyOptions& options);

  const KvLayout& kv_layout() const override { return kv_layout_; }
  int64_t vocab_size() const override { return vocab_size_; }
  int64_t hidden_size() const override { return hidden_size_; }
  absl::Status AllocateKvCache(const KvCacheSize& size) override;
  PartEdges edges() const override { return edges_; }
  StepPlanner* step_planner() override { return &planner_; }
  absl::StatusOr<kernels::TensorView> Forward(const ForwardContext& context) override;
  absl::Status Head(kernels::Backend& backend, const kernels::TensorView& hidden,
                    const kernels::TensorView& logits) override;

 private:
  // A sublayer between the streams.
  struct Sublayer {
    HyperConnection connection;
    RmsNorm norm;
  };
  struct Layer {
    Sublayer attention_frame;
    std::unique_ptr<V4Attention> attention;
    Sublayer feed_forward_frame;
    std::unique_ptr<Moe> feed_forward;
  };
  // Reused by all sublayers of a step.
  struct Buffers {
    kernels::TensorView streams;  // [tokens, streams, hidden]
    kernels::TensorView input;    // [tokens, hidden]
    kernels::TensorView output;   // [tokens, hidden]
    HyperConnection::Mix mix;
  };

  V4Network(const LoadContext& context, const config::HybridAttentionConfig& attention);

  static absl::StatusOr<Layer> LoadLayer(const LoadContext& context, const config::HybridAttentionConfig& attention,
                                         int64_t layer, const V4Attention::Shared& shared);
  // The streams [tokens, streams, hidden] of the layers before, or the embedding in each.
  absl::StatusOr<kernels::TensorView> BeginStreams(const ForwardContext& context) const;
  // All but the streams.
  absl::StatusOr<Buffers> TakeBuffers(const ForwardContext& context, const kernels::TensorView& streams) const;
  template <typename Block>
  static absl::Status RunSublayer(const ForwardContext& context, const Sublayer& frame, const Block& block,
                                  const Buffers& buffers);

  kernels::Backend& backend_;
  kernels::DType dtype_;
  int64_t vocab_size_;
  int64_t hidden_size_;
  int64_t streams_;
  PartEdges edges_;
  KvLayout kv_layout_;
  V4Caches caches_;
  V4StepPlanner planner_;
  TokenEmbedding embedding_;
  std::vector<Layer> layers_;
  HyperConnection last_collapse_;
  LmHead head_;
};

}  // namespace hadal::models
