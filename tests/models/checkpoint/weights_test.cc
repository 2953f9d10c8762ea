// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint/fingerprint.h"
#include "tests/models/checkpoint/checkpoint_builder.h"
#include "tests/models/config/parsing.h"
#include "tests/models/outline.h"

namespace hadal::checkpoint {
namespace {

using config::MustParse;
using models::testing::ExpectedTensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Tensors(const std::vector<std::pair<std::string, float>>& tensors) {
  SafetensorsBuilder builder;
  for (const auto& [name, value] : tensors) builder.AddF32(name, {1}, {value});
  return builder.Bytes();
}

std::string OpenError(const TempDir& dir) {
  auto store = WeightStore::Open(dir.path());
  EXPECT_FALSE(store.ok());
  return std::string(store.status().message());
}

TEST(WeightStoreTest, OpensASingleFile) {
  TempDir dir;
  dir.Write("model.safetensors", Tensors({{"b", 1}, {"a", 2}}));
  auto store = WeightStore::Open(dir.path());
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT(store->Names(), ElementsAre("a", "b"));
  EXPECT_EQ(store->stored_bytes(), 8);
  auto tensor = store->Get("a");
  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->entry->shape, (std::vector<int64_t>{1}));
  EXPECT_THAT(store->Get("c").status().message(), HasSubstr("tensor \"c\" is missing"));
}

TEST(WeightStoreTest, OpensShards) {
  TempDir dir;
  dir.Write("model-1.safetensors", Tensors({{"a", 1}, {"b", 2}}));
  dir.Write("model-2.safetensors", Tensors({{"c", 3}}));
  dir.Write("model.safetensors.index.json",
            R"({"metadata":{"total_size":12},"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors",
                "c":"model-2.safetensors"}})");
  auto store = WeightStore::Open(dir.path());
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(store->files().size(), 2u);
  EXPECT_EQ(store->tensor_count(), 3);
  EXPECT_THAT(store->Get("c")->file->path(), HasSubstr("model-2.safetensors"));
}

TEST(WeightStoreTest, RefusesBadIndexes) {
  TempDir dir;
  dir.Write("model-1.safetensors", Tensors({{"a", 1}}));
  auto with_map = [&](const std::string& map) {
    dir.Write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
    return OpenError(dir);
  };
  EXPECT_THAT(with_map("{}"), HasSubstr("weight_map: expected tensor names, found none"));
  EXPECT_THAT(with_map("3"), HasSubstr("weight_map: expected an object, found 3"));
  for (const char* shard : {"../model-1.safetensors", "/etc/model.safetensors", "a\\\\b.safetensors", "..", "",
                            "model-1.bin", ".safetensors", "a\\u0000.safetensors"}) {
    EXPECT_THAT(with_map(std::string("{\"a\":\"") + shard + "\"}"),
                HasSubstr("tensor \"a\": expected the name of a .safetensors file in this folder"))
        << shard;
  }
  EXPECT_THAT(with_map(R"({"a":1})"), HasSubstr("found 1"));
  EXPECT_THAT(with_map(R"({"a":"model-1.safetensors","a":"model-1.safetensors"})"), HasSubstr("found it twice"));
  EXPECT_THAT(with_map(R"({"a":"model-1.safetensors","b":"model-7.safetensors"})"),
              HasSubstr("model-7.safetensors: expected this shard"));
  EXPECT_THAT(with_map(R"({"a":"model-1.safetensors","b":"model-1.safetensors"})"),
              HasSubstr("model-1.safetensors: tensor \"b\": expected in this shard"));
}

TEST(WeightStoreTest, RefusesTensorsTheIndexPutsElsewhere) {
  TempDir dir;
  dir.Write("model-1.safetensors", Tensors({{"a", 1}, {"x", 1}}));
  dir.Write("model-2.safetensors", Tensors({{"b", 1}}));
  dir.Write("model.safetensors.index.json", R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  EXPECT_THAT(OpenError(dir), HasSubstr("model-1.safetensors: tensor \"x\": expected an entry in the weight_map"));
  dir.Write("model-1.safetensors", Tensors({{"a", 1}}));
  dir.Write("model-2.safetensors", Tensors({{"b", 1}, {"a", 2}}));
  EXPECT_THAT(OpenError(dir),
              AllOf(HasSubstr("tensor \"a\": expected in one shard"), HasSubstr("model-1.safetensors too")));
}

TEST(WeightStoreTest, SaysWhatToDoWithoutSafetensors) {
  TempDir dir;
  EXPECT_THAT(OpenError(dir), HasSubstr("expected model.safetensors or model.safetensors.index.json, found neither"));
  dir.Write("pytorch_model-00001-of-00002.bin", "x");
  EXPECT_THAT(OpenError(dir), HasSubstr("convert the checkpoint to safetensors"));
  EXPECT_THAT(WeightStore::Open(dir.File("none")).status().message(), HasSubstr("expected a checkpoint folder"));
}

// All tensors of the configuration in f32, but for what `skip` names.
SafetensorsBuilder FullCheckpoint(const config::ModelConfig& config, const std::string& skip = "") {
  SafetensorsBuilder builder;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    size_t elements = 1;
    for (int64_t size : spec.shape) elements *= static_cast<size_t>(size);
    if (spec.name != skip) builder.AddF32(spec.name, spec.shape, RandomValues(elements, 1));
  }
  return builder;
}

absl::StatusOr<TensorReport> Check(const SafetensorsBuilder& builder, const config::ModelConfig& config) {
  TempDir dir;
  dir.Write("model.safetensors", builder.Bytes());
  auto store = WeightStore::Open(dir.path());
  if (!store.ok()) return store.status();
  return CheckTensors(*store, config, ExpectedTensors(config));
}

TEST(CheckTensorsTest, AcceptsCompleteCheckpoints) {
  for (const char* text : {config::kTinyLlamaConfig, config::kTinyDeepseekConfig}) {
    const config::ModelConfig config = MustParse(text);
    auto report = Check(FullCheckpoint(config), config);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->loaded_tensors, static_cast<int64_t>(ExpectedTensors(config).size()));
    EXPECT_EQ(report->loaded_bytes, models::testing::Outline(config)->totals().parameters * 4);
    EXPECT_EQ(report->ignored_tensors, 0);
  }
}

TEST(CheckTensorsTest, LeavesKnownExtrasAside) {
  const config::ModelConfig config = MustParse(config::kTinyDeepseekConfig);
  SafetensorsBuilder builder = FullCheckpoint(config);
  builder.AddF32("model.layers.2.eh_proj.weight", {3}, {1, 2, 3});
  builder.AddF32("model.layers.2.shared_head.norm.weight", {1}, {1});
  builder.AddF32("model.layers.0.self_attn.rotary_emb.inv_freq", {1}, {1});
  auto report = Check(builder, config);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->ignored_tensors, 3);
  EXPECT_EQ(report->ignored_bytes, 20);
  builder.AddF32("model.layers.3.eh_proj.weight", {1}, {1});
  EXPECT_THAT(Check(builder, config).status().message(),
              HasSubstr("1 tensor unexpected: model.layers.3.eh_proj.weight"));
}

TEST(CheckTensorsTest, SaysWhatToDoAboutFusedExperts) {
  const config::ModelConfig config = MustParse(config::kTinyDeepseekConfig);
  SafetensorsBuilder builder = FullCheckpoint(config);
  builder.AddF32("model.layers.1.mlp.experts.gate_up_proj", {1}, {1});
  EXPECT_THAT(std::string(Check(builder, config).status().message()),
              AllOf(HasSubstr("1 tensor unexpected: model.layers.1.mlp.experts.gate_up_proj; experts fused"),
                    HasSubstr("save_original_format=True")));
}

TEST(CheckTensorsTest, IgnoresLmHeadOfTiedModelsOnly) {
  config::ModelConfig config = MustParse(config::kTinyLlamaConfig);
  const SafetensorsBuilder builder = FullCheckpoint(config);
  config.tie_word_embeddings = true;
  auto report = Check(builder, config);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->ignored_tensors, 1);
}

TEST(HoldDifferentBytesTest, OnlyOfTwoStoredTensors) {
  SafetensorsBuilder builder;
  builder.AddF32("a", {2}, {1, 2});
  builder.AddF32("same", {2}, {1, 2});
  builder.AddF32("other", {2}, {1, 3});
  builder.AddF32("turned", {2, 1}, {1, 2});
  TempDir dir;
  dir.Write("model.safetensors", builder.Bytes());
  const auto store = WeightStore::Open(dir.path());
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_FALSE(HoldDifferentBytes(*store, "a", "same"));
  EXPECT_TRUE(HoldDifferentBytes(*store, "a", "other"));
  EXPECT_TRUE(HoldDifferentBytes(*store, "a", "turned"));
  EXPECT_FALSE(HoldDifferentBytes(*store, "a", "missing"));
  EXPECT_FALSE(HoldDifferentBytes(*store, "missing", "a"));
}

TEST(CheckTensorsTest, CountsAllMissingAndUnexpected) {
  const config::ModelConfig config = MustParse(config::kTinyLlamaConfig);
  SafetensorsBuilder builder;
  for (int i = 0; i < 25; ++i) builder.AddF32(absl::StrCat("extra.", i), {1}, {1});
  auto report = Check(builder, config);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(report.status().message()),
      AllOf(HasSubstr("21 tensors missing: model.embed_tokens.weight, "), HasSubstr(", and 1 more; "),
            HasSubstr("25 tensors unexpected: extra.0, "), HasSubstr(", and 5 more"), Not(HasSubstr("extra.20"))));
}

TEST(CheckTensorsTest, NamesWrongShapeAndType) {
  const config::ModelConfig config = MustParse(config::kTinyLlamaConfig);
  SafetensorsBuilder builder = FullCheckpoint(config, "model.norm.weight");
  builder.AddF32("model.norm.weight", {7}, RandomValues(7, 1));
  EXPECT_THAT(Check(builder, config).status().message(),
              AllOf(HasSubstr("model.safetensors: tensor \"model.norm.weight\": expected shape [8], found [7]"),
                    Not(HasSubstr("missing"))));
  SafetensorsBuilder integers = FullCheckpoint(config, "model.norm.weight");
  integers.AddRaw("model.norm.weight", "I32", {8}, std::string(32, '\0'));
  EXPECT_THAT(Check(integers, config).status().message(), HasSubstr("expected dtype F32, F16 or BF16, found I32"));
}

TEST(CheckTensorsTest, ChecksScalesOfQuantizedMatrices) {
  const config::ModelConfig config = MustParse(config::kTinyDeepseekConfig);
  const std::string name = "model.layers.0.mlp.down_proj.weight";  // [20, 12], blocks of [4, 8]
  SafetensorsBuilder base = FullCheckpoint(config, name);
  base.AddRaw(name, "F8_E4M3", {20, 12}, std::string(240, '\x38'));
  EXPECT_THAT(Check(base, config).status().message(), HasSubstr("1 tensor missing: " + name + "_scale_inv"));

  SafetensorsBuilder good = base;
  good.AddF32(name + "_scale_inv", {5, 2}, RandomValues(10, 2));
  EXPECT_TRUE(Check(good, config).ok());

  SafetensorsBuilder bad = base;
  bad.AddF32(name + "_scale_inv", {5, 1}, RandomValues(5, 2));
  EXPECT_THAT(Check(bad, config).status().message(),
              HasSubstr("_scale_inv\": expected shape [5, 2] for blocks of [4, 8], found [5, 1]"));

  config::ModelConfig plain = config;
  plain.fp8.reset();
  EXPECT_THAT(Check(good, plain).status().message(), HasSubstr("expected a quantization_config in config.json"));

  SafetensorsBuilder norm = FullCheckpoint(config, "model.norm.weight");
  norm.AddRaw("model.norm.weight", "F8_E4M3", {20}, std::string(20, '\x38'));
  EXPECT_THAT(Check(norm, config).status().message(), HasSubstr("expected dtype F32, F16 or BF16, found F8_E4M3"));
}

TEST(FingerprintTest, FollowsConfigHeaderAndValues) {
  const config::ModelConfig config = MustParse(config::kTinyLlamaConfig);
  auto fingerprint = [](const config::ModelConfig& of, const std::string& bytes) {
    TempDir dir;
    dir.Write("model.safetensors", bytes);
    return Fingerprint(of, *WeightStore::Open(dir.path()));
  };
  const std::string base = fingerprint(config, Tensors({{"a", 1}}));
  EXPECT_EQ(base.size(), 19u);
  EXPECT_EQ(base, fingerprint(config, Tensors({{"a", 1}})));
  EXPECT_NE(base, fingerprint(config, Tensors({{"b", 1}})));
  EXPECT_NE(base, fingerprint(config, Tensors({{"a", 2}})));
  EXPECT_NE(base, fingerprint(MustParse(config::kTinyDeepseekConfig), Tensors({{"a", 1}})));
  EXPECT_NE(Fingerprint(config, WeightStore::Dummy({}, 1)), Fingerprint(config, WeightStore::Dummy({}, 2)));
}

}  // namespace
}  // namespace hadal::checkpoint
