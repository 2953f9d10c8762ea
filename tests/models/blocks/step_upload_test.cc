// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/step_upload.h"

#include <memory>

#include "gtest/gtest.h"

namespace hadal::models {
namespace {

TEST(StepUploadTest, BringsArraysOfBothTypesInOneCopy) {
  const std::unique_ptr<kernels::Backend> backend = *kernels::CreateBackend("reference", {});
  StepUpload upload(backend.get());
  for (int32_t step = 1; step <= 3; ++step) {
    upload.Clear();
    // The third step needs more memory than the first two.
    std::vector<int32_t> many(step == 3 ? 40000 : 10, step);
    const std::vector<int64_t> wide = {int64_t{1} << 40, -step};
    const auto many_at = upload.Add(absl::MakeConstSpan(many));
    const auto none_at = upload.Add(absl::Span<const int32_t>());
    const auto wide_at = upload.Add(absl::MakeConstSpan(wide));
    many.assign(many.size(), 0);  // copied when added
    ASSERT_TRUE(upload.Commit().ok());
    const kernels::TensorView view = upload.View(many_at, {static_cast<int64_t>(many.size())});
    EXPECT_EQ(view.dtype, kernels::DType::kI32);
    EXPECT_EQ(view.as<const int32_t>()[many.size() - 1], step);
    EXPECT_EQ(upload.View(none_at, {0}).numel(), 0);
    EXPECT_EQ(upload.View(wide_at, {2}).as<const int64_t>()[0], int64_t{1} << 40);
    EXPECT_EQ(upload.View(wide_at, {2}).as<const int64_t>()[1], -step);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(upload.View(wide_at, {2}).data) % 64, 0u);
  }
}

}  // namespace
}  // namespace hadal::models
