// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/recording_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hadal::checkpoint {
namespace {

using kernels::DType;
using kernels::TensorView;
using ::testing::ElementsAre;

std::vector<int64_t> Shape(const absl::StatusOr<LoadedTensor>& tensor) {
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  const TensorView& view = tensor->view();
  EXPECT_TRUE(view.present());
  return {view.sizes.begin(), view.sizes.begin() + view.rank};
}

TEST(RecordingLoaderTest, GivesShapesAndTypesAndKeepsTheDeclarations) {
  RecordingLoader loader(DType::kBF16);
  EXPECT_THAT(Shape(loader.Take({"a", {3, 5}, TensorRole::kMatrix})), ElementsAre(3, 5));
  EXPECT_THAT(Shape(loader.TakeStacked({{"b", {2, 5}}, {"c", {4, 5}}})), ElementsAre(6, 5));
  EXPECT_THAT(Shape(loader.TakeStacked({{"d", {2}, TensorRole::kBias}, {"e", {4}, TensorRole::kBias}})),
              ElementsAre(6));
  EXPECT_THAT(Shape(loader.TakeGroups({{{"f", {2, 5}}, {"g", {1, 5}}}, {{"h", {2, 5}}, {"i", {1, 5}}}})),
              ElementsAre(2, 3, 5));
  const auto table = loader.TakeExpertTable({"j", {11, 2}, TensorRole::kExpertTable}, 4);
  EXPECT_THAT(Shape(table), ElementsAre(11, 2));
  EXPECT_EQ(table->view().dtype, DType::kI32);
  EXPECT_EQ(loader.Take({"k", {3}, TensorRole::kFloat32})->view().dtype, DType::kF32);
  std::string names;
  for (const TensorSpec& spec : loader.specs()) names += spec.name;
  EXPECT_EQ(names, "abcdefghijk");
}

TEST(RecordingLoaderTest, WeightsAreWhatTheTotalsCount) {
  const TensorSpec matrix{"a", {3, 5}, TensorRole::kMatrix}, router{"b", {4, 5}, TensorRole::kRouter},
      bias{"c", {4}, TensorRole::kRouterBias};
  RecordingLoader loader(DType::kBF16);
  int64_t bytes = 0;
  for (const TensorSpec& spec : {matrix, router, bias}) {
    const kernels::WeightView weight = loader.Take(spec)->weight;
    EXPECT_EQ(weight.scheme, kernels::WeightScheme::kPlain);
    EXPECT_FALSE(weight.scales.present());
    bytes += weight.bytes();
  }
  EXPECT_EQ(bytes, 2 * (15 + 20) + 4 * 4);
  EXPECT_EQ(CountParameters(loader.specs(), DType::kBF16, 1, 1).bytes, bytes);
}

TEST(RecordingLoaderTest, StopsAtSizesBeyondAnyMemory) {
  RecordingLoader loader(DType::kBF16);
  ASSERT_TRUE(loader.Take({"a", {int64_t{1} << 25, int64_t{1} << 25}}).ok());  // the limit
  EXPECT_EQ(loader.Take({"b", {1}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CountParametersTest, CountsWhatATokenMultipliesWith) {
  const std::vector<TensorSpec> specs = {
      {"embedding", {100, 1}, TensorRole::kEmbedding}, {"norm", {10}, TensorRole::kNorm},
      {"router", {4, 1}, TensorRole::kRouter},         {"bias", {4}, TensorRole::kRouterBias},
      {"expert.0", {3, 2}, TensorRole::kExpert},       {"expert.1", {3, 2}, TensorRole::kExpert},
      {"expert.2", {3, 2}, TensorRole::kExpert},       {"expert.3", {3, 2}, TensorRole::kExpert},
      {"head", {100, 1}, TensorRole::kOutputHead}};
  const ParameterTotals totals = CountParameters(specs, DType::kBF16, 2, 4);
  EXPECT_EQ(totals.parameters, 100 + 10 + 4 + 4 + 24 + 100);
  EXPECT_EQ(totals.active, 4 + 12 + 100);
  EXPECT_EQ(totals.bytes, 2 * (totals.parameters - 4) + 4 * 4);
}

}  // namespace
}  // namespace hadal::checkpoint
