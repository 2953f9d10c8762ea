// SPDX-License-Identifier: Apache-2.0
//
// What a checkpoint of DeepSeek-V4 holds, and how it is checked and loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "models/checkpoint/weight_loader.h"
#include "models/checkpoint/weights.h"
#include "models/families/deepseek_v4/tensor_names.h"
#include "tests/models/checkpoint/checkpoint_builder.h"
#include "tests/models/checkpoint/host_backend.h"
#include "tests/models/config/parsing.h"
#include "tests/models/outline.h"

namespace hadal::checkpoint {
namespace {

using config::MustParse;
using kernels::DType;
using models::testing::ExpectedTensors;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Expected {
  std::vector<int64_t> shape;
  TensorRole role;
};

// The names and shapes of the published V4-Flash checkpoint.
TEST(DeepseekV4TensorsTest, AreThePublishedNamesAndShapes) {
  std::map<std::string, TensorSpec> specs;
  for (TensorSpec& spec : ExpectedTensors(MustParse(config::kDeepseekV4FlashConfig))) specs[spec.name] = spec;
  using R = TensorRole;
  const std::map<std::string, Expected> expected = {
      {"embed.weight", {{129280, 4096}, R::kEmbedding}},
      {"head.weight", {{129280, 4096}, R::kOutputHead}},
      {"norm.weight", {{4096}, R::kNorm}},
      {"hc_head_fn", {{4, 16384}, R::kFloat32Matrix}},
      {"hc_head_base", {{4}, R::kFloat32}},
      {"hc_head_scale", {{1}, R::kFloat32}},
      {"layers.2.attn_norm.weight", {{4096}, R::kNorm}},
      {"layers.2.ffn_norm.weight", {{4096}, R::kNorm}},
      {"layers.2.hc_attn_fn", {{24, 16384}, R::kFloat32Matrix}},
      {"layers.2.hc_attn_base", {{24}, R::kFloat32}},
      {"layers.2.hc_attn_scale", {{3}, R::kFloat32}},
      {"layers.2.hc_ffn_fn", {{24, 16384}, R::kFloat32Matrix}},
      {"layers.2.attn.wq_a.weight", {{1024, 4096}, R::kMatrix}},
      {"layers.2.attn.q_norm.weight", {{1024}, R::kNorm}},
      {"layers.2.attn.wq_b.weight", {{32768, 1024}, R::kMatrix}},
      {"layers.2.attn.wkv.weight", {{512, 4096}, R::kMatrix}},
      {"layers.2.attn.kv_norm.weight", {{512}, R::kNorm}},
      {"layers.2.attn.attn_sink", {{64}, R::kFloat32}},
      {"layers.2.attn.wo_a.weight", {{8192, 4096}, R::kMatrix}},
      {"layers.2.attn.wo_b.weight", {{4096, 8192}, R::kMatrix}},
      {"layers.2.attn.compressor.wkv.weight", {{1024, 4096}, R::kPlainMatrix}},
      {"layers.2.attn.compressor.wgate.weight", {{1024, 4096}, R::kPlainMatrix}},
      {"layers.2.attn.compressor.ape", {{4, 1024}, R::kFloat32}},
      {"layers.2.attn.compressor.norm.weight", {{512}, R::kNorm}},
      {"layers.3.attn.compressor.wkv.weight", {{512, 4096}, R::kPlainMatrix}},
      {"layers.3.attn.compressor.ape", {{128, 512}, R::kFloat32}},
      {"layers.2.attn.indexer.wq_b.weight", {{8192, 1024}, R::kMatrix}},
      {"layers.2.attn.indexer.weights_proj.weight", {{64, 4096}, R::kPlainMatrix}},
      {"layers.2.attn.indexer.compressor.wgate.weight", {{256, 4096}, R::kPlainMatrix}},
      {"layers.2.attn.indexer.compressor.ape", {{4, 256}, R::kFloat32}},
      {"layers.2.attn.indexer.compressor.norm.weight", {{128}, R::kNorm}},
      {"layers.2.ffn.gate.weight", {{256, 4096}, R::kRouter}},
      {"layers.2.ffn.gate.tid2eid", {{129280, 6}, R::kExpertTable}},
      {"layers.3.ffn.gate.bias", {{256}, R::kRouterBias}},
      {"layers.2.ffn.experts.255.w1.weight", {{2048, 4096}, R::kExpert}},
      {"layers.2.ffn.experts.255.w2.weight", {{4096, 2048}, R::kExpert}},
      {"layers.2.ffn.experts.255.w3.weight", {{2048, 4096}, R::kExpert}},
      {"layers.2.ffn.shared_experts.w2.weight", {{4096, 2048}, R::kMatrix}},
  };
  for (const auto& [name, want] : expected) {
    ASSERT_TRUE(specs.contains(name)) << name;
    EXPECT_EQ(specs[name].shape, want.shape) << name;
    EXPECT_EQ(specs[name].role, want.role) << name;
  }
  for (const char* absent : {"layers.0.attn.compressor.wkv.weight", "layers.3.attn.indexer.wq_b.weight",
                             "layers.2.ffn.gate.bias", "layers.3.ffn.gate.tid2eid", "mtp.0.norm.weight"}) {
    EXPECT_FALSE(specs.contains(absent)) << absent;
  }
  // Per layer: 2 norms, 6 of mixing, 8 of attention, router and its partner, 3 of the shared expert, 768 of experts.
  const size_t layers = 43 * (2 + 6 + 8 + 2 + 3 + 768), compressors = 41 * 4, indexers = 21 * 6;
  EXPECT_EQ(specs.size(), 6 + layers + compressors + indexers);
}

TEST(DeepseekV4TensorsTest, KeepsF32WhereTheReferenceDoes) {
  EXPECT_EQ(KeptDType(TensorRole::kFloat32, DType::kBF16), DType::kF32);
  EXPECT_EQ(KeptDType(TensorRole::kRouterBias, DType::kBF16), DType::kF32);
  EXPECT_EQ(KeptDType(TensorRole::kExpertTable, DType::kBF16), DType::kI32);
  EXPECT_EQ(KeptDType(TensorRole::kPlainMatrix, DType::kBF16), DType::kBF16);
  EXPECT_EQ(KeptDType(TensorRole::kExpert, DType::kF16), DType::kF16);
}

// A checkpoint of the tiny configuration with every tensor in bf16 or f32.
class TinyV4Test : public ::testing::Test {
 protected:
  void SetUp() override {
    config_ = MustParse(config::kTinyDeepseekV4Config);
    for (const TensorSpec& spec : ExpectedTensors(config_)) {
      size_t elements = 1;
      for (int64_t size : spec.shape) elements *= static_cast<size_t>(size);
      if (spec.role == TensorRole::kExpertTable) {
        for (size_t i = 0; i < elements; ++i) table_.push_back(static_cast<int64_t>(i % 5));
        table_name_ = spec.name;
        table_shape_ = spec.shape;
      } else if (KeptDType(spec.role, DType::kBF16) == DType::kF32) {
        builder_.AddF32(spec.name, spec.shape, RandomValues(elements, 1));
      } else {
        builder_.AddBF16(spec.name, spec.shape, RandomValues(elements, 2));
      }
    }
  }
  WeightStore Open() {
    builder_.AddRaw(table_name_, "I64", table_shape_,
                    std::string(reinterpret_cast<const char*>(table_.data()), table_.size() * 8));
    dir_.Write("model.safetensors", builder_.Bytes());
    auto store = WeightStore::Open(dir_.path());
    EXPECT_TRUE(store.ok()) << store.status();
    return *store;
  }
  std::unique_ptr<WeightLoader> Loader(WeightStore store) {
    auto loader = WeightLoader::Create(std::move(store), config_, &backend_, {});
    EXPECT_TRUE(loader.ok()) << loader.status();
    return *std::move(loader);
  }

  config::ModelConfig config_;
  TempDir dir_;
  SafetensorsBuilder builder_;
  std::string table_name_;
  std::vector<int64_t> table_shape_;
  std::vector<int64_t> table_;
  HostBackend backend_;
};

TEST_F(TinyV4Test, ChecksAWholeCheckpointAndCountsWhatIsIgnored) {
  builder_.AddBF16("mtp.0.norm.weight", {12}, RandomValues(12, 3));
  builder_.AddBF16("mtp.2.markov_head.markov_w1.weight", {11, 2}, RandomValues(22, 3));
  auto report = CheckTensors(Open(), config_, ExpectedTensors(config_), models::IsV4MtpTensor);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->loaded_tensors, static_cast<int64_t>(ExpectedTensors(config_).size()));
  EXPECT_EQ(report->ignored_tensors, 2);
  EXPECT_EQ(report->ignored_bytes, 24 + 44);
}

TEST_F(TinyV4Test, FindsTensorsUnderTheNamesOfSavePretrainedAndNoneTwice) {
  const std::vector<TensorSpec> asked = {{"layers.7.attn.kv_norm.weight", {12}, TensorRole::kNorm}};
  builder_.AddBF16("model.layers.7.attn.norm.weight", {12}, RandomValues(12, 3));
  builder_.AddBF16("model.norm.weight", {12}, RandomValues(12, 3));  // beside norm.weight
  const WeightStore store = Open();
  EXPECT_FALSE(store.Contains(asked[0].name));
  EXPECT_TRUE(store.With(models::V4SavedName).Contains(asked[0].name));
  std::vector<TensorSpec> specs = ExpectedTensors(config_);
  specs.push_back(asked[0]);
  const absl::Status status =
      CheckTensors(store.With(models::V4SavedName), config_, specs, models::IsV4MtpTensor).status();
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("1 tensor unexpected"), HasSubstr("model.norm.weight")));
}

TEST_F(TinyV4Test, RefusesUnknownAndMissingTensors) {
  builder_.AddBF16("mtp.0.vision.weight", {1}, {0});
  builder_.AddBF16("layers.0.ffn.gate.bias", {5}, RandomValues(5, 3));  // layer 0 has a table instead
  const absl::Status status = CheckTensors(Open(), config_, ExpectedTensors(config_), models::IsV4MtpTensor).status();
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("2 tensors unexpected"), HasSubstr("mtp.0.vision.weight"),
                                                   HasSubstr("layers.0.ffn.gate.bias")));
}

TEST_F(TinyV4Test, LoadsTheExpertTable) {
  auto loader = Loader(Open());
  auto table = loader->LoadExpertTable("layers.0.ffn.gate.tid2eid", 5);
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->view().dtype, DType::kI32);
  ASSERT_EQ(table->view().sizes[0], 11);
  ASSERT_EQ(table->view().sizes[1], 2);
  for (int64_t i = 0; i < 22; ++i) EXPECT_EQ(table->view().as<int32_t>()[i], i % 5);
  EXPECT_EQ(loader->buffer_bytes(), 88);
  EXPECT_THAT(loader->LoadExpertTable("layers.1.ffn.gate.bias", 5).status().message(), HasSubstr("2 dimensions"));
  EXPECT_THAT(loader->LoadExpertTable("norm.weight", 5).status().message(), HasSubstr("\"norm.weight\""));
  EXPECT_THAT(loader->LoadExpertTable("layers.1.ffn.gate.weight", 12).status().message(),
              HasSubstr("dtype I64 or I32"));
}

TEST_F(TinyV4Test, NamesTheTokenWithABadExpert) {
  for (int64_t bad : {int64_t{5}, int64_t{-1}, int64_t{1} << 40}) {
    SetUp();
    builder_ = SafetensorsBuilder();
    table_.resize(22);
    table_[15] = bad;
    auto loader = Loader(Open());
    EXPECT_THAT(std::string(loader->LoadExpertTable(table_name_, 5).status().message()),
                AllOf(HasSubstr("model.safetensors: tensor \"layers.0.ffn.gate.tid2eid\": expected experts in [0, 5)"),
                      HasSubstr(absl::StrCat("found ", bad, " for token 7"))));
  }
}

TEST_F(TinyV4Test, MakesDummyTablesInRange) {
  auto loader = Loader(WeightStore::Dummy(ExpectedTensors(config_), 7));
  ASSERT_TRUE(CheckTensors(loader->store(), config_, ExpectedTensors(config_), models::IsV4MtpTensor).ok());
  auto table = loader->LoadExpertTable("layers.0.ffn.gate.tid2eid", 5);
  ASSERT_TRUE(table.ok()) << table.status();
  std::set<int32_t> used;
  for (int64_t token = 0; token < 11; ++token) {
    const int32_t* row = table->view().as<int32_t>() + token * 2;
    EXPECT_NE(row[0], row[1]);
    used.insert(row, row + 2);
  }
  EXPECT_EQ(used, (std::set<int32_t>{0, 1, 2, 3, 4}));
}

}  // namespace
}  // namespace hadal::checkpoint
