// SPDX-License-Identifier: Apache-2.0
#include "models/families/network_outline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "models/registry.h"
#include "tests/models/config/config_texts.h"

namespace hadal::models {
namespace {

using ::testing::HasSubstr;

TEST(NetworkOutlineTest, RefusesSizesBeyondAnyMemory) {
  using config::With;
  std::string text = With(config::kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 1048576)");
  text = With(text, R"("intermediate_size": 6)", R"("intermediate_size": 4194304)");
  text = With(text, R"("num_attention_heads": 2)", R"("num_attention_heads": 1024)");
  text = With(text, R"("num_hidden_layers": 2)", R"("num_hidden_layers": 1024)");
  const auto config = config::ParseModelConfig(text);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto outline = NetworkOutline::Create(**FindFamily(config->architecture), *config, kernels::DType::kBF16);
  EXPECT_EQ(outline.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(outline.status().message()), HasSubstr("parameters, found"));
}

TEST(NetworkOutlineTest, CountsTiedEmbeddingsOnceAndAsMultiplied) {
  const auto untied = config::ParseModelConfig(config::kTinyLlamaConfig);
  ASSERT_TRUE(untied.ok()) << untied.status();
  config::ModelConfig tied = *untied;
  tied.tie_word_embeddings = true;
  const Family& family = **FindFamily(tied.architecture);
  const auto one = NetworkOutline::Create(family, tied, kernels::DType::kF32);
  const auto two = NetworkOutline::Create(family, *untied, kernels::DType::kF32);
  ASSERT_TRUE(one.ok() && two.ok());
  const int64_t table = tied.vocab_size * tied.hidden_size;
  EXPECT_EQ((*one)->totals().parameters, (*two)->totals().parameters - table);
  EXPECT_EQ((*one)->totals().active, (*two)->totals().active);
  EXPECT_EQ((*one)->totals().bytes, 4 * (*one)->totals().parameters);
}

TEST(NetworkOutlineTest, DeclaresRotaryTablesForThePositionsAskedFor) {
  const auto llama = config::ParseModelConfig(config::kTinyLlamaConfig);    // heads of 4 values
  const auto v4 = config::ParseModelConfig(config::kTinyDeepseekV4Config);  // 4 of 10 values rotated, at two bases
  ASSERT_TRUE(llama.ok() && v4.ok());
  const auto table_bytes = [](const config::ModelConfig& config, int64_t max_model_len) {
    const auto outline =
        NetworkOutline::Create(**FindFamily(config.architecture), config, kernels::DType::kBF16, max_model_len);
    EXPECT_TRUE(outline.ok()) << outline.status();
    return (*outline)->table_bytes();
  };
  EXPECT_EQ(table_bytes(*llama, 10), 10 * 4 * 4);
  EXPECT_EQ(table_bytes(*llama, 0), llama->max_position_embeddings * 4 * 4);
  EXPECT_EQ(table_bytes(*v4, 10), 2 * 10 * 4 * 4);
}

}  // namespace
}  // namespace hadal::models
