// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {
namespace {

void ParseIndexer(FieldReader& fields, MlaConfig& mla) {
  if (mla.q_lora_rank == 0) {
    fields.Fail("q_lora_rank", "an integer (the indexer's queries come from the q latent)", "null");
  }
  IndexerConfig indexer;
  indexer.heads = fields.Int("index_n_heads", 1, kMaxHeads);
  indexer.head_dim = fields.Int("index_head_dim", 1, kMaxHeadDim);
  indexer.top_k = fields.Int("index_topk", 1, kMaxPositions);
  if (fields.status().ok() && indexer.head_dim < mla.qk_rope_head_dim) {
    fields.Fail("index_head_dim", absl::StrCat("at least qk_rope_head_dim, ", mla.qk_rope_head_dim),
                absl::StrCat(indexer.head_dim));
  }
  mla.indexer = indexer;
}

// What transformers 5 writes about the layers; it may only repeat what the other fields say.
void CheckLayerLists(FieldReader& fields, const ModelConfig& config) {
  const auto check = [&](const char* key, auto expected_of) {
    const std::vector<std::string> kinds = fields.StringList(key, kMaxLayers);
    if (!fields.status().ok() || kinds.empty()) return;
    if (static_cast<int64_t>(kinds.size()) != config.layers) {
      fields.Fail(key, absl::StrCat("a list of num_hidden_layers, ", config.layers),
                  absl::StrCat("a list of ", kinds.size()));
      return;
    }
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const char* expected = expected_of(layer);
      if (kinds[layer] == expected) continue;
      fields.Fail(key, absl::StrCat("\"", expected, "\" for layer ", layer),
                  absl::StrCat("\"", QuoteForError(kinds[layer]), "\""));
      return;
    }
  };
  check("mlp_layer_types", [&](int64_t layer) { return config.IsMoeLayer(layer) ? "sparse" : "dense"; });
  check("layer_types", [](int64_t) { return "indexed_attention"; });
}

}  // namespace

// DeepSeek-V3 with an indexer in every layer.
void ParseDeepseekV32Fields(FieldReader& fields, ModelConfig& config) {
  ParseDeepseekV3Fields(fields, config);
  if (!fields.status().ok()) return;
  MlaConfig& mla = std::get<MlaConfig>(config.attention);
  if (!mla.rope_interleaved) {
    fields.Unsupported("rope_interleave", "deepseek_v32 rotates neighbouring pairs, found false");
  }
  ParseIndexer(fields, mla);
  if (fields.status().ok()) CheckLayerLists(fields, config);
}

}  // namespace hadal::config
