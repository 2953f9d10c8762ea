// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V4 (arXiv:2606.19348): the fields of the published config.json, and those that transformers 5 writes
// in their place (layer_types and compress_rates, mlp_layer_types, partial_rotary_factor, rope_parameters of two
// parts).
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {
namespace {

using kernels::RopeConfig;
using kernels::RopeScaling;

constexpr int64_t kMaxWindow = int64_t{1} << 20;
constexpr int64_t kMaxRatio = 4096;
constexpr int64_t kMaxStreams = 16;
constexpr int64_t kMaxSinkhornIterations = 1000;
constexpr int64_t kMaxIndexTopK = int64_t{1} << 20;

void Refuse(FieldReader& fields, const char* key, absl::string_view offered, absl::string_view found) {
  fields.Unsupported(key, absl::StrCat("deepseek_v4 has ", offered, ", found ", found));
}

// A switch that must be off.
void RefuseTrue(FieldReader& fields, const char* key, absl::string_view offered) {
  if (fields.BoolOr(key, false)) Refuse(fields, key, offered, "true");
}

// A count that must be 1 when it is there.
void ExpectOne(FieldReader& fields, const char* key, absl::string_view offered) {
  const int64_t found = fields.IntOr(key, 1, 0, kMaxHeads);
  if (fields.status().ok() && found != 1) Refuse(fields, key, offered, absl::StrCat(found));
}

void ExpectString(FieldReader& fields, const char* key, absl::string_view offered) {
  const std::optional<std::string> found = fields.OptionalString(key);
  if (found && *found != offered) Refuse(fields, key, offered, absl::StrCat("\"", QuoteForError(*found), "\""));
}

// int(head_dim * partial_rotary_factor), as transformers takes it.
int64_t RotatedWidth(int64_t head_dim, double partial) {
  return static_cast<int64_t>(static_cast<double>(head_dim) * partial);
}

// partial_rotary_factor must mean the rotated width that is known already.
void CheckPartial(FieldReader& fields, const HybridAttentionConfig& attention) {
  if (!fields.Has("partial_rotary_factor")) return;
  const double partial = fields.Double("partial_rotary_factor", 0.0, 1.0);
  const int64_t width = RotatedWidth(attention.head_dim, partial);
  if (!fields.status().ok() || width == attention.rope_head_dim) return;
  fields.Fail("partial_rotary_factor",
              absl::StrCat(attention.rope_head_dim, " of ", attention.head_dim, " values (qk_rope_head_dim, head_dim)"),
              absl::StrCat(partial, ", ", width, " values"));
}

void ParseWidths(FieldReader& fields, HybridAttentionConfig& attention) {
  attention.q_lora_rank = fields.Int("q_lora_rank", 1, kMaxLoraRank);
  attention.head_dim = fields.Int("head_dim", 2, kMaxHeadDim);
  const char* rope_key = "qk_rope_head_dim";
  if (!fields.Has(rope_key) && fields.Has("partial_rotary_factor")) {
    rope_key = "partial_rotary_factor";
    attention.rope_head_dim = RotatedWidth(attention.head_dim, fields.Double(rope_key, 0.0, 1.0));
  } else {
    attention.rope_head_dim = fields.Int(rope_key, 2, kMaxHeadDim);
  }
  if (fields.status().ok() && (attention.rope_head_dim % 2 != 0 || attention.rope_head_dim < 2)) {
    fields.Fail(rope_key, "an even number of values, at least 2 (rotary pairs)", absl::StrCat(attention.rope_head_dim));
  }
  if (fields.status().ok() && attention.rope_head_dim > attention.head_dim) {
    fields.Fail(rope_key, absl::StrCat("at most head_dim, ", attention.head_dim),
                absl::StrCat(attention.rope_head_dim));
  }
  if (fields.status().ok()) CheckPartial(fields, attention);
  attention.o_groups = fields.Int("o_groups", 1, kMaxHeads);
  if (fields.status().ok() && attention.heads % attention.o_groups != 0) {
    fields.Fail("o_groups", absl::StrCat("a divisor of num_attention_heads, ", attention.heads),
                absl::StrCat(attention.o_groups));
  }
  attention.o_lora_rank = fields.Int("o_lora_rank", 1, kMaxLoraRank);
  attention.sliding_window = fields.Int("sliding_window", 1, kMaxWindow);
}

void ParseRates(FieldReader& fields, HybridAttentionConfig& attention) {
  attention.csa_ratio = fields.IntOr("compress_rate_csa", attention.csa_ratio, 2, kMaxRatio);
  attention.hca_ratio = fields.IntOr("compress_rate_hca", attention.hca_ratio, 2, kMaxRatio);
  if (auto object = fields.OptionalObject("compress_rates"); object && fields.status().ok()) {
    FieldReader rates(*object);
    attention.csa_ratio = rates.IntOr("compressed_sparse_attention", attention.csa_ratio, 2, kMaxRatio);
    attention.hca_ratio = rates.IntOr("heavily_compressed_attention", attention.hca_ratio, 2, kMaxRatio);
    fields.Adopt(rates.status());
  }
  if (fields.status().ok() && attention.csa_ratio == attention.hca_ratio) {
    fields.Fail("compress_rates", "two rates", absl::StrCat("twice ", attention.csa_ratio));
  }
}

// One entry a layer; the published lists go on with the layers for multi-token prediction, which are ignored.
std::vector<HybridLayer> ParseRatios(FieldReader& fields, const HybridAttentionConfig& attention, int64_t layers) {
  std::vector<HybridLayer> kinds;
  const std::vector<int32_t> ratios = fields.IntList("compress_ratios", 0, kMaxRatio, kMaxLayers + kMaxMtpLayers);
  const auto count = static_cast<int64_t>(ratios.size());
  if (fields.status().ok() && (count < layers || count > layers + kMaxMtpLayers)) {
    fields.Fail("compress_ratios",
                absl::StrCat("one for each of ", layers, " layers and up to ", kMaxMtpLayers, " more"),
                absl::StrCat(count));
  }
  if (!fields.status().ok()) return kinds;
  for (int64_t ratio : ratios) {
    if (ratio == 0) {
      kinds.push_back(HybridLayer::kSliding);
    } else if (ratio == attention.csa_ratio) {
      kinds.push_back(HybridLayer::kCsa);
    } else if (ratio == attention.hca_ratio) {
      kinds.push_back(HybridLayer::kHca);
    } else {
      fields.Unsupported("compress_ratios", absl::StrCat("hadal offers 0, ", attention.csa_ratio, " and ",
                                                         attention.hca_ratio, ", found ", ratio));
      return {};
    }
  }
  kinds.resize(static_cast<size_t>(layers));
  return kinds;
}

std::vector<HybridLayer> ParseLayerTypes(FieldReader& fields, int64_t layers) {
  std::vector<HybridLayer> kinds;
  const std::vector<std::string> types = fields.StringList("layer_types", kMaxLayers);
  if (fields.status().ok() && static_cast<int64_t>(types.size()) != layers) {
    fields.Fail("layer_types", absl::StrCat("one for each of ", layers, " layers"), absl::StrCat(types.size()));
  }
  if (!fields.status().ok()) return kinds;
  for (const std::string& type : types) {
    if (type == "sliding_attention") {
      kinds.push_back(HybridLayer::kSliding);
    } else if (type == "compressed_sparse_attention") {
      kinds.push_back(HybridLayer::kCsa);
    } else if (type == "heavily_compressed_attention") {
      kinds.push_back(HybridLayer::kHca);
    } else {
      fields.Unsupported("layer_types", absl::StrCat("hadal offers sliding_attention, compressed_sparse_attention and "
                                                     "heavily_compressed_attention, found \"",
                                                     QuoteForError(type), "\""));
      return {};
    }
  }
  return kinds;
}

void ParseKinds(FieldReader& fields, int64_t layers, HybridAttentionConfig& attention) {
  const bool ratios = fields.Has("compress_ratios");
  const bool types = fields.Has("layer_types");
  if (!ratios && !types) {
    // No default: another guess means other tensors.
    fields.Fail("compress_ratios", "a list (or layer_types)", "nothing");
    return;
  }
  if (types) attention.layers = ParseLayerTypes(fields, layers);
  if (!ratios || !fields.status().ok()) return;
  std::vector<HybridLayer> kinds = ParseRatios(fields, attention, layers);
  if (fields.status().ok() && types && kinds != attention.layers) {
    fields.Fail("compress_ratios", "the same as layer_types", "another list");
  }
  attention.layers = std::move(kinds);
}

void ParseIndexer(FieldReader& fields, HybridAttentionConfig& attention) {
  const bool csa =
      std::find(attention.layers.begin(), attention.layers.end(), HybridLayer::kCsa) != attention.layers.end();
  if (!csa && !fields.Has("index_n_heads")) return;
  IndexerConfig indexer;
  indexer.heads = fields.Int("index_n_heads", 1, kMaxHeads);
  indexer.head_dim = fields.Int("index_head_dim", 2, kMaxHeadDim);
  indexer.top_k = fields.Int("index_topk", 1, kMaxIndexTopK);
  if (fields.status().ok() && indexer.head_dim < attention.rope_head_dim) {
    fields.Fail("index_head_dim", absl::StrCat("at least qk_rope_head_dim, ", attention.rope_head_dim),
                absl::StrCat(indexer.head_dim));
  }
  attention.indexer = indexer;
}

// Only YaRN without a magnitude correction is known of this family; other kinds would be guesses.
void ParsePart(FieldReader& part, bool compressed, HybridAttentionConfig& attention, ModelConfig& config) {
  RopeConfig& rope = compressed ? attention.compressed_rope : attention.sliding_rope;
  ParseRopeScaling(part, rope, config);
  CheckPartial(part, attention);
  const bool yarn = rope.scaling == RopeScaling::kYarn;
  if (part.status().ok() && rope.scaling != RopeScaling::kNone && !(compressed && yarn)) {
    part.Unsupported("rope_type", compressed ? "deepseek_v4 has default or yarn for compressed layers, found another"
                                             : "deepseek_v4 has default for sliding layers, found another");
  }
}

// rope_parameters {main, compress} of transformers.
void ParseTwoRopes(FieldReader& both, HybridAttentionConfig& attention, ModelConfig& config) {
  for (const char* key : {"main", "compress"}) {
    const bool compressed = absl::string_view(key) == "compress";
    auto object = both.OptionalObject(key);
    if (!object) {
      both.Fail(key, "an object", "nothing");
      return;
    }
    FieldReader part(*object);
    RopeConfig& rope = compressed ? attention.compressed_rope : attention.sliding_rope;
    rope.theta = part.Double("rope_theta", 1.0, kMaxRopeTheta);
    ParsePart(part, compressed, attention, config);
    // transformers would scale cos and sin here, DeepSeek's own code does not.
    if (part.status().ok() && rope.scaling == RopeScaling::kYarn && !part.Has("attention_factor")) {
      part.Fail("attention_factor", "a number (1 for DeepSeek's checkpoints)", "nothing");
    }
    both.Adopt(part.status());
  }
}

void ParseRopes(FieldReader& fields, HybridAttentionConfig& attention, ModelConfig& config) {
  RopeConfig& sliding = attention.sliding_rope;
  RopeConfig& compressed = attention.compressed_rope;
  sliding.dim = compressed.dim = attention.rope_head_dim;
  const char* key = "rope_scaling";
  auto object = fields.OptionalObject(key);
  if (!object || object->Object()->size() == 0) object = fields.OptionalObject(key = "rope_parameters");
  if (object && fields.status().ok() && FieldReader(*object).Has("main")) {
    FieldReader both(*object);
    ParseTwoRopes(both, attention, config);
    fields.Adopt(both.status());
  } else {
    sliding.theta = fields.Double("rope_theta", 1.0, kMaxRopeTheta);
    compressed.theta = fields.Double("compress_rope_theta", 1.0, kMaxRopeTheta);
    if (object && fields.status().ok()) {
      FieldReader scaling(*object);
      ParsePart(scaling, /*compressed=*/true, attention, config);
      // transformers takes the two fields outside and not this one.
      const double theta = scaling.DoubleOr("rope_theta", sliding.theta, 1.0, kMaxRopeTheta);
      if (scaling.status().ok() && theta != sliding.theta && theta != compressed.theta) {
        scaling.Fail("rope_theta",
                     absl::StrCat("rope_theta or compress_rope_theta, ", sliding.theta, " or ", compressed.theta),
                     absl::StrCat(theta));
      }
      // The reference does not scale cos and sin (5.9.2).
      if (compressed.scaling == RopeScaling::kYarn && !scaling.Has("attention_factor")) {
        compressed.attention_factor = 1.0;
      }
      fields.Adopt(scaling.status());
    }
  }
  CheckRope(fields, sliding);
  CheckRope(fields, compressed);
}

// mlp_layer_types as num_hash_layers: hash_moe first, then moe.
int64_t ParseMlpLayerTypes(FieldReader& fields, int64_t layers) {
  const std::vector<std::string> types = fields.StringList("mlp_layer_types", kMaxLayers);
  if (fields.status().ok() && static_cast<int64_t>(types.size()) != layers) {
    fields.Fail("mlp_layer_types", absl::StrCat("one for each of ", layers, " layers"), absl::StrCat(types.size()));
  }
  int64_t hash_layers = 0;
  for (size_t i = 0; i < types.size() && fields.status().ok(); ++i) {
    if (types[i] == "hash_moe" && hash_layers == static_cast<int64_t>(i)) {
      ++hash_layers;
    } else if (types[i] != "moe") {
      fields.Unsupported("mlp_layer_types",
                         absl::StrCat("hadal offers hash_moe in the first layers, then moe, found \"",
                                      QuoteForError(types[i]), "\" for layer ", i));
    }
  }
  return hash_layers;
}

int64_t ParseHashLayers(FieldReader& fields, int64_t layers) {
  const bool count = fields.Has("num_hash_layers");
  const bool types = fields.Has("mlp_layer_types");
  if (!types) return fields.Int("num_hash_layers", 0, layers);
  const int64_t hash_layers = ParseMlpLayerTypes(fields, layers);
  if (!count) return hash_layers;
  const int64_t given = fields.Int("num_hash_layers", 0, layers);
  if (fields.status().ok() && given != hash_layers) {
    fields.Fail("num_hash_layers", absl::StrCat("the ", hash_layers, " layers of mlp_layer_types"),
                absl::StrCat(given));
  }
  return given;
}

void ParseV4Moe(FieldReader& fields, ModelConfig& config) {
  MoeConfig moe;
  moe.routed_experts = fields.Int("n_routed_experts", 1, kMaxExperts);
  ExpectOne(fields, "n_shared_experts", "one shared expert");
  moe.shared_experts = 1;
  moe.experts_per_token = fields.Int("num_experts_per_tok", 1, 256);
  moe.intermediate_size = fields.Int("moe_intermediate_size", 1, kMaxIntermediateSize);
  ExpectOne(fields, "n_group", "no expert groups");
  ExpectOne(fields, "topk_group", "no expert groups");
  ExpectString(fields, "scoring_func", "sqrtsoftplus");
  ExpectString(fields, "topk_method", "noaux_tc");
  moe.norm_topk_prob = fields.BoolOr("norm_topk_prob", true);
  moe.routed_scaling_factor = fields.Double("routed_scaling_factor", 1e-6, 1e6);
  moe.scoring = RouterScoring::kSqrtSoftplus;
  moe.selection = RouterSelection::kNoAuxTc;
  moe.correction_bias = true;
  moe.swiglu_limit = fields.Double("swiglu_limit", 0.0, 1e6);
  moe.hash_layers = ParseHashLayers(fields, config.layers);
  if (!fields.status().ok()) return;
  if (moe.experts_per_token > moe.routed_experts) {
    fields.Fail("num_experts_per_tok", absl::StrCat("at most n_routed_experts, ", moe.routed_experts),
                absl::StrCat(moe.experts_per_token));
  }
  if (moe.routed_experts * config.layers > kMaxExpertsInAllLayers) {
    fields.Fail("n_routed_experts", absl::StrCat("at most ", kMaxExpertsInAllLayers, " experts over all layers"),
                absl::StrCat(moe.routed_experts, " in each of ", config.layers, " layers"));
  }
  config.moe = moe;
}

}  // namespace

void ParseDeepseekV4Fields(FieldReader& fields, ModelConfig& config) {
  HybridAttentionConfig& attention = config.attention.emplace<HybridAttentionConfig>();
  attention.heads = fields.Int("num_attention_heads", 1, kMaxHeads);
  ExpectOne(fields, "num_key_value_heads", "one key-value head");
  RefuseTrue(fields, "attention_bias", "no biases");
  RefuseTrue(fields, "mlp_bias", "no biases");
  RefuseTrue(fields, "tie_word_embeddings", "a head of its own");
  ParseWidths(fields, attention);
  ParseRates(fields, attention);
  ParseKinds(fields, config.layers, attention);
  if (fields.status().ok()) ParseIndexer(fields, attention);
  HyperConnectionConfig hyper;
  hyper.streams = fields.Int("hc_mult", 1, kMaxStreams);
  hyper.sinkhorn_iterations = fields.Int("hc_sinkhorn_iters", 1, kMaxSinkhornIterations);
  hyper.eps = fields.Double("hc_eps", 0.0, 1.0);
  config.hyper_connections = hyper;
  if (fields.status().ok()) ParseV4Moe(fields, config);
  config.mtp_layers = fields.IntOr("num_nextn_predict_layers", 1, 0, kMaxMtpLayers);
  if (fields.status().ok()) ParseRopes(fields, attention, config);
}

}  // namespace hadal::config
