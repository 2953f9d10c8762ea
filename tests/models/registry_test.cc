// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/model_in_parts.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using ::testing::HasSubstr;

// A folder that holds a config.json and nothing else; removed at the end.
class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() : dir_(std::filesystem::temp_directory_path() / ("hadal_registry_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(dir_ / "tiny-model");
  }
  ~RegistryTest() override { std::filesystem::remove_all(dir_); }

  LoadOptions Dummy(const std::string& config) {
    std::ofstream(dir_ / "tiny-model" / "config.json") << config;
    LoadOptions options;
    options.dir = (dir_ / "tiny-model").string();
    options.device = "cpu";
    options.threads = 1;
    options.load_format = LoadFormat::kDummy;
    return options;
  }

  std::filesystem::path dir_;
};

TEST_F(RegistryTest, BatchInvarianceLeavesLatentAttentionOneForm) {
  LoadOptions options = Dummy(testing::kTinyDeepseekV3);
  options.batch_invariant = true;
  EXPECT_TRUE(LoadModel(options).ok());
  options.mla_form = "expanded";
  EXPECT_EQ(
      LoadModel(options).status(),
      absl::InvalidArgumentError("mla_form expanded is not batch-invariant: a single token takes the absorbed form"));
}

TEST_F(RegistryTest, LoadsEveryFamilyAndRunsAStep) {
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    auto model = LoadModel(Dummy(tiny.config));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->info().family, tiny.name);
    EXPECT_EQ((*model)->info().name, "tiny-model");
    EXPECT_EQ((*model)->info().dtype, "bfloat16");
    EXPECT_EQ((*model)->info().max_model_len, 512);
    const bool windowed = (*model)->kv_layout().window_tokens > 0;
    ASSERT_TRUE((*model)->AllocateKvCache({4, 16, windowed ? 4 : 0}).ok());
    testing::StepBuilder builder(16, 4, windowed);
    builder.Add(0, 0, {1, 2, 3}).Sample();
    auto handle = (*model)->Launch(builder.Take());
    ASSERT_TRUE(handle.ok()) << handle.status();
    auto output = (*model)->Wait(*handle);
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_FALSE(output->samples[0].faulty);
    EXPECT_GE(output->samples[0].token_id, 0);
  }
}

TEST_F(RegistryTest, CachesWhatTheAttentionNeeds) {
  const struct {
    const char* config;
    int64_t bytes;  // per token
  } cases[] = {{testing::kTinyLlama, 2 * 2 * 18 * 2},
               {testing::kTinyQwen2, 2 * 2 * 2 * 12 * 2},
               {testing::kTinyDeepseekV3, 3 * (41 + 12) * 2},
               {testing::kTinyDeepseekV32, 3 * (41 + 12 + 26) * 2},
               {testing::kTinyDeepseekV4, (2 * (24 + 14) / 4 + 24 / 8) * 2}};
  for (const auto& c : cases) {
    auto model = LoadModel(Dummy(c.config));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->kv_layout().bytes_per_token(), c.bytes) << c.config;
  }
}

TEST_F(RegistryTest, EveryArchitectureHasATinyConfiguration) {
  std::vector<std::string> tested;
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    tested.push_back(config::ParseModelConfig(tiny.config)->architecture);
  }
  EXPECT_THAT(tested, ::testing::UnorderedElementsAreArray(KnownArchitectures()));
  EXPECT_THAT(config::KnownArchitectures(), ::testing::UnorderedElementsAreArray(KnownArchitectures()));
}

TEST_F(RegistryTest, PlanAgreesWithTheLoadedModel) {
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    const LoadOptions options = Dummy(tiny.config);
    auto plan = PlanModel(options, 16);
    ASSERT_TRUE(plan.ok()) << plan.status();
    auto model = LoadModel(options);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(plan->memory.parameter_count, (*model)->info().parameter_count);
    EXPECT_EQ(plan->memory.kv_bytes_per_token, (*model)->kv_layout().bytes_per_token());
    EXPECT_EQ(plan->memory.workspace_bytes, (*model)->WorkspaceBytes(options.max_batch_tokens, options.max_batch_size));
    EXPECT_GE(plan->memory.weights_bytes, (*model)->info().weights_bytes);
    EXPECT_EQ(plan->device, "cpu");
    EXPECT_EQ(plan->dtype, "bfloat16");
  }
}

TEST_F(RegistryTest, PlanDividesABudget) {
  LoadOptions options = Dummy(testing::kTinyLlama);
  options.max_batch_tokens = 64;
  options.max_batch_size = 4;
  auto plan = PlanModel(options, 16);
  ASSERT_TRUE(plan.ok()) << plan.status();
  options.memory_budget_bytes =
      plan->memory.weights_bytes + plan->memory.workspace_bytes + 10 * plan->memory.kv_bytes_per_block + 1;
  plan = PlanModel(options, 16);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->memory.kv_blocks, 10);
  options.memory_budget_bytes = 1000;
  EXPECT_EQ(PlanModel(options, 16).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(RegistryTest, PlansAFolderWithNothingButItsConfiguration) {
  LoadOptions options = Dummy(testing::kTinyDeepseekV3);
  auto dummy = PlanModel(options, 16);
  ASSERT_TRUE(dummy.ok()) << dummy.status();
  options.load_format = LoadFormat::kAuto;
  auto plan = PlanModel(options, 16);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->has_weights);
  EXPECT_EQ(plan->memory.ToString(), dummy->memory.ToString());
  EXPECT_EQ(LoadModel(options).status().code(), absl::StatusCode::kNotFound);

  // Half of a checkpoint is no configuration alone.
  std::ofstream(options.dir + "/model.safetensors.index.json") << R"({"weight_map": {"a": "model-1.safetensors"}})";
  EXPECT_EQ(PlanModel(options, 16).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegistryTest, ACpuHasNoMemoryOfItsOwn) {
  LoadOptions options;
  options.device = "cpu";
  EXPECT_EQ(*DeviceMemoryBytes(options), 0);
  options.device = "abacus";
  EXPECT_FALSE(DeviceMemoryBytes(options).ok());
}

TEST_F(RegistryTest, RefusesWhatItDoesNotOffer) {
  LoadOptions unknown = Dummy(R"({"architectures": ["MambaForCausalLM"], "model_type": "mamba"})");
  EXPECT_EQ(LoadModel(unknown).status().code(), absl::StatusCode::kUnimplemented);

  LoadOptions options = Dummy(testing::kTinyLlama);
  options.dtype = "int4";
  EXPECT_THAT(std::string(LoadModel(options).status().message()), HasSubstr("dtype int4"));
  options = Dummy(testing::kTinyLlama);
  options.max_model_len = 513;
  EXPECT_THAT(std::string(LoadModel(options).status().message()), HasSubstr("max_model_len is 513, limit 512"));
  options = Dummy(testing::kTinyLlama);
  options.device = "abacus";
  EXPECT_FALSE(LoadModel(options).ok());
  options = Dummy(testing::kTinyLlama);
  options.device = "cuda:x";
  EXPECT_EQ(LoadModel(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = Dummy(testing::kTinyLlama);
  options.max_batch_tokens = 0;
  EXPECT_EQ(LoadModel(options).status().code(), absl::StatusCode::kInvalidArgument);
}

// A prompt and a token after it: the log-probabilities of all tokens that follow, and what is sampled.
std::vector<float> TwoSteps(Model& model) {
  const bool windowed = model.kv_layout().window_tokens > 0;
  EXPECT_TRUE(model.AllocateKvCache({4, 16, windowed ? 4 : 0}).ok());
  std::vector<float> values;
  for (const bool decode : {false, true}) {
    testing::StepBuilder builder(16, 4, windowed);
    if (decode) {
      builder.Add(0, 21, {7});
    } else {
      builder.Add(0, 0, {1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 4, 6, 10, 16, 26, 42, 68, 110, 178});
      builder.Score(3, 8);
    }
    builder.Sample().top_logprobs = 20;
    auto handle = model.Launch(builder.Take());
    EXPECT_TRUE(handle.ok()) << handle.status();
    const auto output = model.Wait(*handle);
    EXPECT_TRUE(output.ok()) << output.status();
    for (const SampleResult& sample : output->samples) {
      EXPECT_FALSE(sample.faulty);
      values.push_back(sample.logprob);
      for (const TokenLogprob& top : sample.top) {
        values.push_back(static_cast<float>(top.token_id));
        values.push_back(top.logprob);
      }
    }
  }
  return values;
}

TEST_F(RegistryTest, PartsOfAModelGiveWhatTheWholeGives) {
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    const LoadOptions options = Dummy(tiny.config);
    const int64_t layers = config::ParseModelConfig(tiny.config)->layers;
    auto whole = LoadModel(options);
    ASSERT_TRUE(whole.ok()) << whole.status();
    const std::vector<float> expected = TwoSteps(**whole);
    for (int parts = 2; parts <= layers; ++parts) {
      SCOPED_TRACE(std::string(tiny.name) + " in parts: " + std::to_string(parts));
      auto model = testing::LoadInParts(options, parts);
      ASSERT_TRUE(model.ok()) << model.status();
      EXPECT_EQ(TwoSteps(**model), expected);
      EXPECT_LT((*model)->info().weights_bytes, (*whole)->info().weights_bytes);
      EXPECT_LT((*model)->kv_layout().bytes_per_token(), (*whole)->kv_layout().bytes_per_token());
      EXPECT_EQ((*model)->kv_layout().window_tokens, (*whole)->kv_layout().window_tokens);
      EXPECT_EQ((*model)->kv_layout().block_tokens_multiple(), (*whole)->kv_layout().block_tokens_multiple());
      EXPECT_EQ((*model)->info().fingerprint, (*whole)->info().fingerprint);
    }
  }
}

TEST_F(RegistryTest, PartsHoldEveryTensorOnce) {
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    LoadOptions options = Dummy(tiny.config);
    options.dtype = "float32";  // nothing is kept twice
    const bool tied = config::ParseModelConfig(tiny.config)->tie_word_embeddings;
    auto whole = LoadModel(options);
    ASSERT_TRUE(whole.ok()) << whole.status();
    const auto ranges = DivideLayers(options, 2, {});
    ASSERT_TRUE(ranges.ok()) << ranges.status();
    int64_t bytes = 0, kv_bytes = 0;
    for (const LayerRange& range : *ranges) {
      options.layers = range;
      auto part = LoadPart(options);
      ASSERT_TRUE(part.ok()) << part.status();
      EXPECT_EQ((*part)->layers(), range);
      EXPECT_EQ((*part)->takes_state(), range.begin > 0);
      bytes += (*part)->info().weights_bytes;
      kv_bytes += (*part)->kv_layout().block_bytes(16) + (*part)->kv_layout().window_block_bytes(16);
    }
    const KvLayout& layout = (*whole)->kv_layout();
    EXPECT_EQ(kv_bytes, layout.block_bytes(16) + layout.window_block_bytes(16));
    if (tied) {
      EXPECT_GT(bytes, (*whole)->info().weights_bytes);  // first and last part each hold the embedding
    } else {
      EXPECT_EQ(bytes, (*whole)->info().weights_bytes);
    }
  }
}

TEST_F(RegistryTest, APartRefusesAnotherStatesSize) {
  LoadOptions options = Dummy(testing::kTinyLlama);
  options.layers = LayerRange{1, 2};
  auto part = LoadPart(options);
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ((*part)->state_bytes(), 70 * 2);
  ASSERT_TRUE((*part)->AllocateKvCache({4, 16}).ok());
  testing::StepBuilder builder(16, 4);
  builder.Add(0, 0, {1, 2, 3}).Sample();
  std::vector<std::byte> state(2 * 140), next;
  EXPECT_THAT(std::string((*part)->Run(builder.Take(), state, &next).status().message()),
              HasSubstr("state of 280 bytes, expected 420 for 3 tokens before layer 1"));
}

TEST_F(RegistryTest, HostsAgreeOnWhatTheyIdentify) {
  LoadOptions options = Dummy(testing::kTinyDeepseekV3);
  auto identity = IdentifyCheckpoint(options);
  ASSERT_TRUE(identity.ok()) << identity.status();
  auto model = LoadModel(options);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(identity->fingerprint, (*model)->info().fingerprint);
  EXPECT_EQ(identity->dtype, (*model)->info().dtype);
  EXPECT_EQ(identity->max_model_len, (*model)->info().max_model_len);
  EXPECT_EQ(identity->layers, 3);
  options = Dummy(testing::kTinyDeepseekV32);
  EXPECT_NE(IdentifyCheckpoint(options)->fingerprint, identity->fingerprint);
  options.max_model_len = 513;
  EXPECT_FALSE(IdentifyCheckpoint(options).ok());
}

TEST_F(RegistryTest, RefusesLayersThatTheModelHasNot) {
  LoadOptions options = Dummy(testing::kTinyLlama);
  for (const LayerRange& range : {LayerRange{0, 3}, LayerRange{1, 1}, LayerRange{-1, 1}}) {
    options.layers = range;
    EXPECT_THAT(std::string(LoadPart(options).status().message()), HasSubstr("at least one of the model's 2"));
  }
  options.layers = LayerRange{0, 1};
  options.weights = FileAccess::kCopy;
  EXPECT_THAT(std::string(LoadPart(options).status().message()), HasSubstr("mapped weights"));
  EXPECT_FALSE(DivideLayers(options, 3, {}).ok());
  EXPECT_FALSE(DivideLayers(options, 2, {1, 2}).ok());
}

TEST_F(RegistryTest, AFolderWithoutWeightsIsNamed) {
  LoadOptions options = Dummy(testing::kTinyLlama);
  options.load_format = LoadFormat::kAuto;
  const absl::Status status = LoadModel(options).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("tiny-model"));
}

TEST_F(RegistryTest, ReportsProgressToTheEnd) {
  LoadOptions options = Dummy(testing::kTinyDeepseekV3);
  int64_t done = 0;
  int64_t total = 0;
  options.progress = [&](checkpoint::LoadProgress progress) {
    EXPECT_GE(progress.bytes_done, done);
    done = progress.bytes_done;
    total = progress.bytes_total;
  };
  ASSERT_TRUE(LoadModel(options).ok());
  EXPECT_GT(total, 0);
  EXPECT_EQ(done, total);
}

}  // namespace
}  // namespace hadal::models
