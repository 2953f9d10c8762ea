// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/meta_backend.h"

#include "gtest/gtest.h"

namespace hadal::models {
namespace {

using kernels::DType;
using kernels::TensorView;

// A plan loads networks of a terabyte on it.
TEST(MetaBackendTest, HasNoMemoryAndStillChecksParameters) {
  MetaBackend backend;
  const auto buffer = backend.Allocate(int64_t{1} << 45);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->bytes(), int64_t{1} << 45);
  const TensorView a(buffer->data(), DType::kBF16, {1 << 20, 4}), b(buffer->data(), DType::kBF16, {1 << 20, 5});
  EXPECT_TRUE(backend.Cast({.in = a, .out = TensorView(buffer->data(), DType::kF32, {1 << 20, 4})}).ok());
  EXPECT_EQ(backend.SiluMul({.gate = a, .up = b, .out = a}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::models
