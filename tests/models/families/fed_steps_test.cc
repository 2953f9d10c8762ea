// SPDX-License-Identifier: Apache-2.0
//
// Steps that are launched before the one before is waited for say what steps say that know their tokens: with sequences
// that end, change places, are preempted and come back, and with each of a device's ways of its own switched off.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "models/registry.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

struct Case {
  std::string name, config, device;
};

class FedStepsTest : public ::testing::TestWithParam<Case> {
 protected:
  struct Said {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;

    bool operator==(const Said&) const = default;
  };

  FedStepsTest() : dir_(std::filesystem::temp_directory_path() / ("hadal_fed_steps_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(dir_);
    std::ofstream(dir_ / "config.json") << GetParam().config;
  }
  ~FedStepsTest() override { std::filesystem::remove_all(dir_); }

  void SetUp() override {
    const absl::Status opened = kernels::CreateBackend(GetParam().device, {}).status();
    if (opened.ok()) return;
    if (std::getenv("HADAL_REQUIRE_GPU") != nullptr) FAIL() << opened;
    GTEST_SKIP() << opened;
  }

  std::unique_ptr<Model> Load() {
    LoadOptions options;
    options.dir = dir_.string();
    options.name = "tiny";
    options.device = GetParam().device;
    options.threads = 2;
    options.load_format = LoadFormat::kDummy;
    options.max_batch_tokens = 64;
    options.max_batch_size = 3;
    auto model = LoadModel(options);
    EXPECT_TRUE(model.ok()) << model.status();
    const bool windowed = (*model)->kv_layout().window_tokens > 0;
    EXPECT_EQ((*model)->AllocateKvCache({9, 16, windowed ? 9 : 0}), absl::OkStatus());
    return *std::move(model);
  }

  // Ten steps. `fed`: each is launched before the tokens of the one before are known here.
  Said Generate(bool fed) {
    const std::unique_ptr<Model> model = Load();
    const bool windowed = model->kv_layout().window_tokens > 0;
    const std::vector<std::vector<int32_t>> steps = {{0, 1, 2}, {0, 1, 2}, {2, 0, 1}, {2, 1}, {1},
                                                     {1, 2},    {2, 1},    {2, 1},    {1, 2}, {1, 2}};
    std::vector<std::vector<int32_t>> known = {{3, 4, 5, 6, 7}, {8, 9, 10}, {11, 12, 13, 14}};
    std::vector<int32_t> lengths = {5, 3, 4};  // with those that are sampled and not known yet
    Said said;
    std::optional<StepHandle> in_flight;
    const auto wait = [&](const std::vector<int32_t>& sequences) {
      const auto output = model->Wait(*in_flight);
      ASSERT_TRUE(output.ok()) << output.status();
      for (size_t i = 0; i < sequences.size(); ++i) {
        known[sequences[i]].push_back(output->samples[i].token_id);
        said.tokens.push_back(output->samples[i].token_id);
        said.logprobs.push_back(output->samples[i].logprob);
      }
    };
    for (size_t step = 0; step < steps.size(); ++step) {
      const std::vector<int32_t> before = step > 0 ? steps[step - 1] : std::vector<int32_t>();
      if (step > 0 && !fed) wait(before);
      testing::StepBuilder builder(16, 3, windowed);
      for (const int32_t s : steps[step]) {
        const auto place = std::find(before.begin(), before.end(), s);
        if (place == before.end()) {  // it is new, or was preempted: all of it
          builder.Add(s, 0, known[s]);
        } else {
          const auto row = static_cast<int32_t>(place - before.begin());
          builder.Add(s, lengths[s] - 1, {fed ? FedToken(row) : known[s].back()});
        }
        builder.Sample({.temperature = s == 1 ? 1.0f : 0.0f, .seed = 7}).top_logprobs = 2;
        ++lengths[s];
      }
      const auto launched = model->Launch(builder.Take());
      EXPECT_TRUE(launched.ok()) << launched.status();
      if (!launched.ok()) return said;
      if (step > 0 && fed) wait(before);
      in_flight = *launched;
    }
    wait(steps.back());
    return said;
  }

  const std::filesystem::path dir_;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    const std::string name = tiny.name;
    if (name != "qwen2" && name != "deepseek_v3" && name != "deepseek_v4") continue;
    for (const char* device : {"cpu", "cuda"}) cases.push_back({name + "_" + device, tiny.config, device});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Families, FedStepsTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(FedStepsTest, SayWhatWaitedOnesSay) {
  const Said waited = Generate(/*fed=*/false);
  EXPECT_EQ(waited.tokens.size(), 22u);
  EXPECT_EQ(Generate(/*fed=*/true), waited);
  if (GetParam().device != "cuda") return;
  for (const char* off : {"HADAL_CUDA_FEED", "HADAL_CUDA_GRAPHS"}) {
    setenv(off, "off", 1);
    EXPECT_EQ(Generate(/*fed=*/true), waited) << off;
    unsetenv(off);
  }
}

}  // namespace
}  // namespace hadal::models
