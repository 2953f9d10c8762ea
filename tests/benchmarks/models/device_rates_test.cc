// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/models/device_rates.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/models/families/tiny_configs.h"

namespace hadal::models {
namespace {

config::ModelConfig Parsed(const std::string& text) { return *config::ParseModelConfig(text); }

TEST(NeedsOfStepTest, WeightsCountOnceAndKeysForEachSequence) {
  const config::ModelConfig config = Parsed(testing::kTinyQwen2);
  const StepNeeds one = *NeedsOfStep(config, 1, 1, 10), three = *NeedsOfStep(config, 3, 1, 10),
                  longer = *NeedsOfStep(config, 1, 1, 20);
  const double each = (three.bytes - one.bytes) / 2;  // keys and values of 11 tokens
  EXPECT_GT(each, 0);
  EXPECT_NEAR(longer.bytes - one.bytes, each * 10 / 11, 1e-6);
  EXPECT_DOUBLE_EQ(three.flop, 3 * one.flop);
}

TEST(NeedsOfStepTest, APromptMultipliesTheHeadOnce) {
  const config::ModelConfig config = Parsed(testing::kTinyQwen2);
  const double apart = NeedsOfStep(config, 4, 1, 0)->flop, prompt = NeedsOfStep(config, 1, 4, 0)->flop;
  EXPECT_DOUBLE_EQ(apart - prompt, 2.0 * 3 * static_cast<double>(config.vocab_size * config.hidden_size));
}

// A token meets the experts that it chooses, and a large step nearly all.
TEST(NeedsOfStepTest, ExpertsCountAsFarAsTheyAreMet) {
  const config::ModelConfig config = Parsed(testing::kTinyDeepseekMoe);
  const double keys = NeedsOfStep(config, 1, 1, 1)->bytes - NeedsOfStep(config, 1, 1, 0)->bytes;
  const auto weights = [&](int64_t tokens) {
    return NeedsOfStep(config, 1, tokens, 0)->bytes - keys * static_cast<double>(tokens);
  };
  EXPECT_LT(weights(1), weights(2));
  EXPECT_LT(weights(2), weights(1000));
  EXPECT_NEAR(weights(1000), weights(2000), 1);
}

class DeviceRatesTest : public ::testing::TestWithParam<std::string> {};

// All measurements of a small model; the numbers themselves are the machine's.
TEST_P(DeviceRatesTest, MeasuresLimitsAndModel) {
  const std::filesystem::path dir = std::filesystem::path(::testing::TempDir()) / ("device_rates_" + GetParam());
  std::filesystem::create_directories(dir);
  std::ofstream(dir / "config.json") << testing::kTinyQwen2;
  RateOptions options;
  options.device = GetParam();
  options.sequences = {1, 3};
  options.context_tokens = 9;
  options.decode_steps = 3;
  options.single_steps = 5;
  options.prompt_tokens = {5, 12};
  options.first_token_prompt = 7;
  options.runs = 1;
  options.copy_bytes = 1 << 16;
  options.product_rows = 32;
  std::vector<std::string> lines;
  const auto keep = [&](const std::string& line) { lines.push_back(line); };
  const auto limits = MeasureLimits(options, keep);
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_GT(limits->copy_gb_s, 0);
  EXPECT_GT(limits->product_tflop_s, 0);
  const absl::Status done = MeasureModel(dir, options, *limits, keep);
  ASSERT_TRUE(done.ok()) << done;
  const std::vector<std::string> wanted = {R"("measure": "limits", "copy_gb_s": )",
                                           R"("measure": "start", "seconds": )",
                                           R"("measure": "decode", "sequences": 1, "context": 9, "tokens_per_s": )",
                                           R"("measure": "gaps", "sequences": 1, "steps": 5, "p50_ms": )",
                                           R"("measure": "decode", "sequences": 3, "context": 9, "tokens_per_s": )",
                                           R"("measure": "gaps", "sequences": 3, "steps": 3, "p50_ms": )",
                                           R"("measure": "prefill", "tokens": 5, "tokens_per_s": )",
                                           R"("measure": "prefill", "tokens": 12, "tokens_per_s": )",
                                           R"("measure": "first_token", "tokens": 7, "rounds": 10, "p50_ms": )"};
  ASSERT_EQ(lines.size(), wanted.size()) << absl::StrJoin(lines, "\n");
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_TRUE(absl::StrContains(lines[i], wanted[i])) << lines[i];
  for (const std::string& line : lines) {
    const bool shared = absl::StrContains(line, R"("decode")") || absl::StrContains(line, R"("prefill")");
    EXPECT_EQ(absl::StrContains(line, R"("share": )"), shared) << line;
    if (absl::StrContains(line, R"("gaps")")) EXPECT_TRUE(absl::StrContains(line, R"("launch_p50_us": )")) << line;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceRatesTest, ::testing::Values("cpu", "cuda"),
                         [](const ::testing::TestParamInfo<std::string>& info) { return info.param; });

TEST(MeasureModelTest, AMissingConfigurationIsNamed) {
  RateOptions options;
  options.device = "cpu";
  const absl::Status status = MeasureModel("/nowhere", options, {1, 1}, [](const std::string&) {});
  EXPECT_TRUE(absl::StrContains(status.message(), "/nowhere")) << status;
}

}  // namespace
}  // namespace hadal::models
