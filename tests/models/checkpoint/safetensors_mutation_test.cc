// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>

#include "models/checkpoint/safetensors.h"
#include "models/checkpoint/weight_index.h"
#include "models/checkpoint/weight_loader.h"
#include "tests/models/checkpoint/checkpoint_builder.h"
#include "tests/models/checkpoint/host_backend.h"
#include "tests/models/config/config_texts.h"
#include "tests/models/config/mutator.h"

namespace hadal::checkpoint {
namespace {

std::string BaseHeader(std::string& data) {
  SafetensorsBuilder builder;
  builder.AddF32("model.norm.weight", {8}, RandomValues(8, 1));
  builder.AddBF16("model.layers.0.self_attn.q_proj.weight", {4, 6}, RandomValues(24, 2));
  builder.AddRaw("model.layers.0.mlp.up_proj.weight", "F8_E4M3", {5, 9}, std::string(45, '\x31'));
  builder.AddRaw("model.layers.0.mlp.up_proj.weight_scale_inv", "F8_E8M0", {2, 2}, std::string(4, '\x7f'));
  builder.AddRaw("layers.0.ffn.experts.0.w1.weight", "I8", {3, 20}, std::string(60, '\x5a'));
  builder.AddRaw("layers.0.ffn.experts.0.w1.scale", "F8_E8M0", {3, 2}, std::string(6, '\x7e'));
  builder.AddRaw("layers.0.ffn.gate.tid2eid", "I64", {2, 1}, std::string(16, '\0'));
  builder.AddF16("lm_head.weight", {2, 3}, RandomValues(6, 3));
  builder.AddF32("scalar", {}, {1});
  const std::string bytes = builder.Bytes();
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  data = bytes.substr(8 + length);
  return bytes.substr(8, length);
}

// Every accepted entry lies within the file and has the size of its shape.
void CheckInvariants(const SafetensorsHeader& header, const std::string& file) {
  const auto* begin = reinterpret_cast<const std::byte*>(file.data());
  size_t covered = 0;
  for (const TensorEntry& entry : header.tensors) {
    ASSERT_GE(entry.bytes.data(), begin);
    ASSERT_LE(entry.bytes.data() + entry.bytes.size(), begin + file.size());
    uint64_t expected = static_cast<uint64_t>(StoredDTypeBytes(entry.dtype));
    for (int64_t size : entry.shape) expected *= static_cast<uint64_t>(size);
    ASSERT_EQ(entry.bytes.size(), expected);
    covered += entry.bytes.size();
  }
  ASSERT_EQ(covered, file.size() - static_cast<size_t>(header.data_offset));
}

TEST(SafetensorsMutationTest, NeverCrashesNorGrows) {
  std::string data;
  const std::string header = BaseHeader(data);
  const std::string base = SafetensorsBytes(header, data);
  ASSERT_TRUE(ParseSafetensors(std::as_bytes(std::span(base.data(), base.size())), "m").ok());
  config::Mutator mutator(20260712);
  TempDir dir;
  HostBackend backend;
  config::ModelConfig config;
  config.fp8 = config::Fp8Config{4, 8, true};
  const int64_t iterations = config::FuzzIterations();
  const int64_t rss_before = config::PeakRssBytes();
  int64_t accepted = 0;
  for (int64_t i = 0; i < iterations; ++i) {
    std::string file;
    switch (i % 4) {
      case 0:  // anything, the length included
        file = mutator.Mutate(base);
        break;
      case 1: {  // a truncated or grown file
        file = base;
        file.resize(mutator.Below(file.size() + 16));
        break;
      }
      default:  // a damaged header under its true length, so that the damage is read
        file = SafetensorsBytes(mutator.Mutate(header), data);
    }
    auto parsed = ParseSafetensors(std::as_bytes(std::span(file.data(), file.size())), "m.safetensors");
    if (!parsed.ok()) {
      EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_LT(parsed.status().message().size(), 4096u);
      continue;
    }
    ++accepted;
    CheckInvariants(*parsed, file);
    if (HasFatalFailure()) FAIL() << "iteration " << i;
    // What passed is loaded as well: an error is fine, a crash is not.
    dir.Write("model.safetensors", file);
    auto store = WeightStore::Open(dir.path());
    ASSERT_TRUE(store.ok()) << store.status();
    auto loader = WeightLoader::Create(*store, config, &backend, {});
    ASSERT_TRUE(loader.ok());
    for (const std::string& name : store->Names()) {
      auto tensor = (*loader)->Load(name);
      EXPECT_LE(tensor.ok() ? tensor->view().bytes() : 0, 4096);
      auto table = (*loader)->LoadExpertTable(name, 4);
      EXPECT_LE(table.ok() ? table->view().bytes() : 0, 4096);
    }
  }
  EXPECT_EQ(backend.used_bytes(), 0);
  EXPECT_LT(config::PeakRssBytes() - rss_before, config::kAllowedGrowthBytes);
  EXPECT_GT(accepted, iterations / 100);
  EXPECT_LT(accepted, iterations * 9 / 10);
}

TEST(WeightIndexMutationTest, NeverCrashesNorNamesAPath) {
  const std::string base = R"({"metadata":{"total_size":12},"weight_map":{"a":"model-00001-of-00002.safetensors",
      "b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}})";
  config::Mutator mutator(20260713);
  const int64_t iterations = config::FuzzIterations();
  int64_t accepted = 0;
  for (int64_t i = 0; i < iterations; ++i) {
    auto shards = ParseWeightIndex(mutator.Mutate(base), "index");
    if (!shards.ok()) continue;
    ++accepted;
    for (const auto& [tensor, shard] : *shards) {
      EXPECT_EQ(shard.find('/'), std::string::npos);
      EXPECT_NE(shard[0], '.');
    }
  }
  EXPECT_GT(accepted, iterations / 100);
}

}  // namespace
}  // namespace hadal::checkpoint
