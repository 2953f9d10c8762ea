// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/decoder.h"

#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

// Writes a constant, and notes what it was given.
template <typename Base>
class ConstantBlock final : public Base {
 public:
  ConstantBlock(float value, std::vector<float>* inputs) : value_(value), inputs_(*inputs) {}
  absl::Status Forward(const ForwardContext&, const kernels::TensorView& x,
                       const kernels::TensorView& out) const override {
    inputs_.push_back(x.as<const float>()[0]);
    for (int64_t i = 0; i < out.numel(); ++i) out.as<float>()[i] = value_;
    return absl::OkStatus();
  }

 private:
  float value_;
  std::vector<float>& inputs_;
};

TEST(DecoderPartsTest, CachesAreWhatTheFamilyAdds) {
  Decoder::Parts parts;
  const PagedCache* keys = parts.AddCache({"keys", 0, 1, 2, kernels::DType::kF32}, {0, 2});
  const PagedCache* window = parts.AddCache({"window", 0, 1, 2, kernels::DType::kF32, 1, true}, {1, 4});
  EXPECT_EQ(parts.caches.size(), 2);
  EXPECT_EQ(keys->shape().name, "keys");
  EXPECT_EQ(window->shape().name, "window");
  EXPECT_EQ(window->shape().layers, 3) << "those of its range";
  EXPECT_EQ(window->shape().first_layer, 1);
}

class DecoderTest : public testing::BlockTest {};

TEST_F(DecoderTest, EachBlockReadsTheNormOfAllThatCameBefore) {
  config_.layers = 2;
  config_.vocab_size = 2;
  config_.hidden_size = 1;
  config_.rms_norm_eps = 0;
  loader_.Set("model.embed_tokens.weight", {5, 3});
  loader_.Set("model.norm.weight", {1});
  loader_.Set("lm_head.weight", {1, -1});
  // A norm of one value is its sign; the weights tell the four apart.
  for (int layer = 0; layer < 2; ++layer) {
    const float weight = static_cast<float>(10 * layer + 1);
    loader_.Set(absl::StrCat("model.layers.", layer, ".input_layernorm.weight"), {weight});
    loader_.Set(absl::StrCat("model.layers.", layer, ".post_attention_layernorm.weight"), {weight + 1});
  }
  std::vector<float> inputs;
  std::vector<std::string> names;
  Decoder::Parts parts;
  parts.attention = [&](int64_t layer, const std::string& name) {
    names.push_back(name);
    return std::make_unique<ConstantBlock<AttentionBlock>>(layer == 0 ? -9.0f : 20.0f, &inputs);
  };
  parts.feed_forward = [&](int64_t, const std::string&) {
    return std::make_unique<ConstantBlock<FeedForwardBlock>>(1.0f, &inputs);
  };
  const auto decoder = Decoder::Load(load(), std::move(parts));
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  EXPECT_EQ(names, (std::vector<std::string>{"model.layers.0", "model.layers.1"}));
  Step(0, 1, 4);
  ids_ = {0};
  const auto hidden = (*decoder)->Forward(forward());
  ASSERT_TRUE(hidden.ok()) << hidden.status();
  // 5, then 5 - 9 = -4, then -4 + 1 = -3, then -3 + 20 = 17, then 18.
  EXPECT_EQ(inputs, (std::vector<float>{1, -2, -11, 12}));
  EXPECT_EQ(hidden->as<const float>()[0], 18);
  std::vector<float> logits(2);
  ASSERT_TRUE((*decoder)->Head(*backend_, *hidden, Rows(logits, 2)).ok());
  EXPECT_EQ(logits, (std::vector<float>{1, -1}));
}

}  // namespace
}  // namespace hadal::models
