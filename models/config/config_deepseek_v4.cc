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
void CheckPartial(FieldReader& fields, const V4AttentionConfig& attention) {
  if (!fields.Has("partial_rotary_factor")) return;
  const double partial = fields.Double("partial_rotary_factor", 0.0, 1.0);
  const int64_t width = RotatedWidth(attention.head_dim, partial);
  if (!fields.status().ok() || width == attention.rope_head_dim) return;
  fields.Fail("partial_rotary_factor",
              absl::StrCat(attention.rope_head_dim, " of ", attention.head_dim, " values (qk_rope_head_dim, head_dim)"),
              absl::StrCat(partial, ", ", width, " values"));
}

void ParseWidths(FieldReader& fields, const AttentionConfig& heads, V4AttentionConfig& attention) {
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
  if (fields.status().ok() && heads.heads % attention.o_groups != 0) {
    fields.Fail("o_groups", absl::StrCat("a divisor of num_attention_heads, ", heads.heads),
                absl::StrCat(attention.o_groups));
  }
  attention.o_lora_rank = fields.Int("o_lora_rank", 1, kMaxLoraRank);
  attention.sliding_window = fields.Int("sliding_window", 1, kMaxWindow);
}

void ParseRates(FieldReader& fields, V4AttentionConfig& attention) {
  attention.sparse_ratio = fields.IntOr("compress_rate_csa", attention.sparse_ratio, 2, kMaxRatio);
  attention.heavy_ratio = fields.IntOr("compress_rate_hca", attention.heavy_ratio, 2, kMaxRatio);
  if (auto object = fields.OptionalObject("compress_rates"); object && fields.status().ok()) {
    FieldReader rates(fields.file(), "compress_rates.", *object);
    attention.sparse_ratio = rates.IntOr("compressed_sparse_attention", attention.sparse_ratio, 2, kMaxRatio);
    attention.heavy_ratio = rates.IntOr("heavily_compressed_attention", attention.heavy_ratio, 2, kMaxRatio);
    fields.Adopt(rates.status());
  }
  if (fields.status().ok() && attention.sparse_ratio == attention.heavy_ratio) {
    fields.Fail("compress_rates", "two rates", absl::StrCat("twice ", attention.sparse_ratio));
  }
}

// One entry a layer; the published lists go on with the layers for multi-token prediction, which are ignored.
std::vector<V4AttentionKind> ParseRatios(FieldReader& fields, const V4AttentionConfig& attention, int64_t layers) {
  std::vector<V4AttentionKind> kinds;
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
      kinds.push_back(V4AttentionKind::kSliding);
    } else if (ratio == attention.sparse_ratio) {
      kinds.push_back(V4AttentionKind::kSparse);
    } else if (ratio == attention.heavy_ratio) {
      kinds.push_back(V4AttentionKind::kHeavy);
    } else {
      fields.Unsupported("compress_ratios", absl::StrCat("hadal offers 0, ", attention.sparse_ratio, " and ",
                                                         attention.heavy_ratio, ", found ", ratio));
      return {};
    }
  }
  kinds.resize(static_cast<size_t>(layers));
  return kinds;
}

std::vector<V4AttentionKind> ParseLayerTypes(FieldReader& fields, int64_t layers) {
  std::vector<V4AttentionKind> kinds;
  const std::vector<std::string> types = fields.StringList("layer_types", kMaxLayers);
  if (fields.status().ok() && static_cast<int64_t>(types.size()) != layers) {
    fields.Fail("layer_types", absl::StrCat("one for each of ", layers, " layers"), absl::StrCat(types.size()));
  }
  if (!fields.status().ok()) return kinds;
  for (const std::string& type : types) {
    if (type == "sliding_attention") {
      kinds.push_back(V4AttentionKind::kSliding);
    } else if (type == "compressed_sparse_attention") {
      kinds.push_back(V4AttentionKind::kSparse);
    } else if (type == "heavily_compressed_attention") {
      kinds.push_back(V4AttentionKind::kHeavy);
    } else {
      fields.Unsupported("layer_types", absl::StrCat("hadal offers sliding_attention, compressed_sparse_attention and "
                                                     "heavily_compressed_attention, found \"",
                                                     QuoteForError(type), "\""));
      return {};
    }
  }
  return kinds;
}

void ParseKinds(FieldReader& fields, int64_t layers, V4AttentionConfig& attention) {
  const bool ratios = fields.Has("compress_ratios");
  const bool types = fields.Has("layer_types");
  if (!ratios && !types) {
    // No default: another guess means other tensors.
    fields.Fail("compress_ratios", "a list (or layer_types)", "nothing");
    return;
  }
  if (types) attention.layers = ParseLayerTypes(fields, layers);
  if (!ratios || !fields.status().ok()) return;
  std::vector<V4AttentionKind> kinds = ParseRatios(fields, attention, layers);
  if (fields.status().ok() && types && kinds != attention.layers) {
    fields.Fail("compress_ratios", "the same as layer_types", "another list");
  }
  attention.layers = std::move(kinds);
}

void ParseIndexer(FieldReader& fields, const V4AttentionConfig& attention, ModelConfig& config) {
  const bool sparse =
      std::find(attention.layers.begin(), attention.layers.end(), V4AttentionKind::kSparse) != attention.layers.end();
  if (!sparse && !fields.Has("index_n_heads")) return;
  IndexerConfig indexer;
  indexer.heads = fields.Int("index_n_heads", 1, kMaxHeads);
  indexer.head_dim = fields.Int("index_head_dim", 2, kMaxHeadDim);
  indexer.top_k = fields.Int("index_topk", 1, kMaxIndexTopK);
  if (fields.status().ok() && indexer.head_dim < attention.rope_head_dim) {
    fields.Fail("index_head_dim", absl::StrCat("at least qk_rope_head_dim, ", attention.rope_head_dim),
                absl::StrCat(indexer.head_dim));
  }
  config.indexer = indexer;
}

// Only YaRN without a magnitude correction is known of this family; other kinds would be guesses.
void ParsePart(FieldReader& part, absl::string_view path, bool compressed, RopeConfig& rope, ModelConfig& config) {
  ParseRopeScaling(part, path, rope, config);
  CheckPartial(part, *config.v4_attention);
  const bool yarn = rope.scaling == RopeScaling::kYarn;
  if (part.status().ok() && rope.scaling != RopeScaling::kNone && !(compressed && yarn)) {
    part.Unsupported("rope_type", compressed ? "deepseek_v4 has default or yarn for compressed layers, found another"
                                             : "deepseek_v4 has default for sliding layers, found another");
  }
}

// rope_parameters {main, compress} of transformers.
void ParseTwoRopes(FieldReader& both, ModelConfig& config) {
  for (const char* key : {"main", "compress"}) {
    const bool compressed = absl::string_view(key) == "compress";
    auto object = both.OptionalObject(key);
    if (!object) {
      both.Fail(key, "an object", "nothing");
      return;
    }
    const std::string path = absl::StrCat("rope_parameters.", key, ".");
    FieldReader part(both.file(), path, *object);
    RopeConfig& rope = compressed ? config.v4_attention->compress_rope : config.rope;
    rope.theta = part.Double("rope_theta", 1.0, kMaxRopeTheta);
    ParsePart(part, path, compressed, rope, config);
    // transformers would scale cos and sin here, DeepSeek's own code does not.
    if (part.status().ok() && rope.scaling == RopeScaling::kYarn && !part.Has("attention_factor")) {
      part.Fail("attention_factor", "a number (1 for DeepSeek's checkpoints)", "nothing");
    }
    both.Adopt(part.status());
  }
}

void ParseRopes(FieldReader& fields, ModelConfig& config) {
  V4AttentionConfig& attention = *config.v4_attention;
  RopeConfig& main = config.rope;
  RopeConfig& compress = attention.compress_rope;
  main.dim = compress.dim = attention.rope_head_dim;
  const char* key = "rope_scaling";
  auto object = fields.OptionalObject(key);
  if (!object || object->size() == 0) object = fields.OptionalObject(key = "rope_parameters");
  if (object && fields.status().ok() && FieldReader(fields.file(), "", *object).Has("main")) {
    FieldReader both(fields.file(), absl::StrCat(key, "."), *object);
    ParseTwoRopes(both, config);
    fields.Adopt(both.status());
  } else {
    main.theta = fields.Double("rope_theta", 1.0, kMaxRopeTheta);
    compress.theta = fields.Double("compress_rope_theta", 1.0, kMaxRopeTheta);
    if (object && fields.status().ok()) {
      const std::string path = absl::StrCat(key, ".");
      FieldReader scaling(fields.file(), path, *object);
      ParsePart(scaling, path, /*compressed=*/true, compress, config);
      // transformers takes the two fields outside and not this one.
      const double theta = scaling.DoubleOr("rope_theta", main.theta, 1.0, kMaxRopeTheta);
      if (scaling.status().ok() && theta != main.theta && theta != compress.theta) {
        scaling.Fail("rope_theta",
                     absl::StrCat("rope_theta or compress_rope_theta, ", main.theta, " or ", compress.theta),
                     absl::StrCat(theta));
      }
      // The reference does not scale cos and sin (5.9.2).
      if (compress.scaling == RopeScaling::kYarn && !scaling.Has("attention_factor")) compress.attention_factor = 1.0;
      fields.Adopt(scaling.status());
    }
  }
  CheckRope(fields, main);
  CheckRope(fields, compress);
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

void ParseMoe(FieldReader& fields, ModelConfig& config) {
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
  config.attention.heads = fields.Int("num_attention_heads", 1, kMaxHeads);
  config.attention.kv_heads = 1;
  ExpectOne(fields, "num_key_value_heads", "one key-value head");
  RefuseTrue(fields, "attention_bias", "no biases");
  RefuseTrue(fields, "mlp_bias", "no biases");
  RefuseTrue(fields, "tie_word_embeddings", "a head of its own");
  V4AttentionConfig& attention = config.v4_attention.emplace();
  ParseWidths(fields, config.attention, attention);
  ParseRates(fields, attention);
  ParseKinds(fields, config.layers, attention);
  if (fields.status().ok()) ParseIndexer(fields, attention, config);
  HyperConnectionConfig hyper;
  hyper.streams = fields.Int("hc_mult", 1, kMaxStreams);
  hyper.sinkhorn_iterations = fields.Int("hc_sinkhorn_iters", 1, kMaxSinkhornIterations);
  hyper.eps = fields.Double("hc_eps", 0.0, 1.0);
  config.hyper_connections = hyper;
  if (fields.status().ok()) ParseMoe(fields, config);
  config.mtp_layers = fields.IntOr("num_nextn_predict_layers", 1, 0, kMaxMtpLayers);
  if (fields.status().ok()) ParseRopes(fields, config);
}

}  // namespace hadal::config
