// SPDX-License-Identifier: Apache-2.0
//
// NetworkOutline::WorkspaceBytes is a promise to the memory ledger: no step of that size may take more. Here every
// family runs real steps in an arena, and the bytes it took at most are held against the promise.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "models/checkpoint/weight_loader.h"
#include "models/checkpoint/weights.h"
#include "models/families/family.h"
#include "models/registry.h"
#include "models/step_executor.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/outline.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using testing::StepBuilder;

struct Shape {
  std::string name;
  const char* config;
  MlaForm form = MlaForm::kAuto;
};

class WorkspaceTest : public ::testing::TestWithParam<Shape> {};

TEST_P(WorkspaceTest, NoStepTakesMoreThanPromised) {
  const auto config = config::ParseModelConfig(GetParam().config);
  ASSERT_TRUE(config.ok()) << config.status();
  const Family& family = **FindFamily(config->architecture);
  const kernels::DType dtype = kernels::DType::kF32;
  const auto outline = *NetworkOutline::Create(family, *config, dtype);
  int64_t last = 0;
  for (const int32_t tokens : {1, 2, 63, 300}) {
    auto backend = *kernels::CreateBackend("cpu", {.threads = 1});
    auto weights =
        checkpoint::WeightLoader::Create(checkpoint::WeightStore::Dummy(testing::ExpectedTensors(*config), 1), *config,
                                         backend.get(), {.compute_dtype = dtype});
    ASSERT_TRUE(weights.ok()) << weights.status();
    auto network = family.load({*config, **weights, *backend}, {512, GetParam().form});
    ASSERT_TRUE(network.ok()) << network.status();
    const bool windowed = (*network)->kv_layout().window_tokens > 0;
    ASSERT_TRUE((*network)->AllocateKvCache({200, 16, windowed ? 200 : 0}).ok());

    const int64_t promised = outline->WorkspaceBytes(tokens);
    EXPECT_GE(promised, last);
    last = promised;
    StepBudget budget{tokens, 2, [&](int64_t n) { return outline->WorkspaceBytes(n); }};
    StepExecutor executor(backend.get(), *std::move(network), budget);
    ASSERT_TRUE(executor.Prepare().ok());
    // A fresh prompt, and the same again behind a cached prefix. No rows are sampled, so the arena holds the pass
    // alone.
    for (const int32_t cached : {0, tokens}) {
      if (cached + tokens > 512) continue;
      StepBuilder builder(16, 100, windowed);
      builder.Add(0, cached, std::vector<int32_t>(tokens, 3));
      const auto output = executor.Run(builder.Take());
      ASSERT_TRUE(output.ok()) << output.status();
    }
    EXPECT_LE(executor.arena().peak_bytes(), promised) << tokens << " tokens";
    EXPECT_GE(2 * executor.arena().peak_bytes(), promised / 2) << tokens << " tokens: the promise is far too large";
  }
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    shapes.push_back({tiny.name, tiny.config});
    if (!std::holds_alternative<config::MlaConfig>(config::ParseModelConfig(tiny.config)->attention)) continue;
    shapes.push_back({std::string(tiny.name) + "_absorbed", tiny.config, MlaForm::kAbsorbed});
    shapes.push_back({std::string(tiny.name) + "_expanded", tiny.config, MlaForm::kExpanded});
  }
  return shapes;
}

INSTANTIATE_TEST_SUITE_P(Families, WorkspaceTest, ::testing::ValuesIn(Shapes()),
                         [](const ::testing::TestParamInfo<Shape>& info) { return info.param.name; });

}  // namespace
}  // namespace hadal::models
