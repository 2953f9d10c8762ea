// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "models/blocks/embedding.h"
#include "models/blocks/kv_cache.h"
#include "models/blocks/layer_parts.h"
#include "models/blocks/network.h"
#include "models/blocks/norm.h"

namespace hadal::models {

// The pre-norm decoder that most families share:
//   h = embedding;  for each layer: h += attention(norm1(h)); h += feed_forward(norm2(h))
// A family chooses the attention and feed-forward block of every layer. Between two layers the state of a token is h.
// Ownership: the decoder owns blocks and caches.
class Decoder : public Network {
 public:
  // Where a family says which blocks it is made of.
  struct Parts {
    // A cache of every layer in `layers`, for their blocks to borrow; it lives as long as the decoder.
    const PagedCache* AddCache(CacheShape shape, const LayerRange& layers) {
      shape.layers = static_cast<int32_t>(layers.size());
      shape.first_layer = layers.begin;
      caches.push_back(std::make_unique<PagedCache>(std::move(shape)));
      return caches.back().get();
    }

    std::vector<std::unique_ptr<PagedCache>> caches;
    int32_t window_tokens = 0;  // of the windowed caches among them
    std::function<absl::StatusOr<std::unique_ptr<AttentionBlock>>(int64_t layer, const std::string& layer_name)>
        attention;
    std::function<absl::StatusOr<std::unique_ptr<FeedForwardBlock>>(int64_t layer, const std::string& layer_name)>
        feed_forward;
    std::unique_ptr<StepPlanner> planner;  // null: the blocks need none
  };

  // Takes model.embed_tokens, model.layers.N.{input_layernorm, post_attention_layernorm}, model.norm, lm_head, and the
  // blocks of every layer; of these what LoadContext::part says.
  static absl::StatusOr<std::unique_ptr<Decoder>> Load(const LoadContext& context, Parts parts);

  const KvLayout& kv_layout() const override { return kv_layout_; }
  int64_t vocab_size() const override { return vocab_size_; }
  int64_t hidden_size() const override { return hidden_size_; }
  absl::Status AllocateKvCache(const KvCacheSize& size) override;
  PartEdges edges() const override { return edges_; }
  StepPlanner* step_planner() override { return parts_.planner.get(); }
  absl::StatusOr<kernels::TensorView> Forward(const ForwardContext& context) override;
  absl::Status Head(kernels::Backend& backend, const kernels::TensorView& hidden,
                    const kernels::TensorView& logits) override;

 private:
  struct Layer {
    RmsNorm input_norm;
    std::unique_ptr<AttentionBlock> attention;
    RmsNorm post_attention_norm;
    std::unique_ptr<FeedForwardBlock> feed_forward;
  };

  Decoder(const LoadContext& context, Parts parts);

  Parts parts_;
  kernels::Backend& backend_;
  kernels::DType dtype_;
  int64_t vocab_size_;
  int64_t hidden_size_;
  PartEdges edges_;
  KvLayout kv_layout_;
  TokenEmbedding embedding_;
  std::vector<Layer> layers_;
  LmHead head_;
};

}  // namespace hadal::models
