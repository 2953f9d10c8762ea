// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/tensor_names.h"

#include <gtest/gtest.h>

namespace hadal::models {
namespace {

TEST(V4TensorNamesTest, KnowsTheNamesOfSavePretrained) {
  EXPECT_EQ(V4SavedName("embed.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(V4SavedName("head.weight"), "head.weight");
  EXPECT_EQ(V4SavedName("hc_head_fn"), "model.hc_head.hc_fn");
  EXPECT_EQ(V4SavedName("layers.3.attn.kv_norm.weight"), "model.layers.3.attn.norm.weight");
  EXPECT_EQ(V4SavedName("layers.3.attn.compressor.norm.weight"), "model.layers.3.attn.compressor.norm.weight");
  EXPECT_EQ(V4SavedName("layers.3.hc_attn_fn"), "model.layers.3.hc_attn_fn");
}

TEST(V4TensorNamesTest, KnowsMultiTokenPredictionByName) {
  for (const char* name :
       {"mtp.0.e_proj.weight", "mtp.0.e_proj.scale", "mtp.0.h_proj.weight", "mtp.0.enorm.weight", "mtp.0.hc_head_fn",
        "mtp.0.norm.weight", "mtp.0.attn.wq_a.scale", "mtp.0.ffn.experts.255.w2.weight", "mtp.0.main_proj.weight",
        "mtp.2.markov_head.markov_w1.weight", "mtp.2.confidence_head.proj.weight", "mtp.1.hc_ffn_scale",
        "mtp.2.head.weight"}) {
    EXPECT_TRUE(IsV4MtpTensor({}, name)) << name;
  }
  for (const char* name : {"mtp.0.vision.weight", "mtp.x.norm.weight", "mtp.-1.norm.weight", "mtp.64.norm.weight",
                           "mtp.norm.weight", "mtp.0", "layers.0.norm.weight", "norm.weight", "mtp.", ""}) {
    EXPECT_FALSE(IsV4MtpTensor({}, name)) << name;
  }
}

}  // namespace
}  // namespace hadal::models
