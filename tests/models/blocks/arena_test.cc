// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/arena.h"

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"
#include "kernels/backend.h"

namespace hadal::models {
namespace {

using kernels::DType;

class ArenaTest : public ::testing::Test {
 protected:
  ArenaTest() : backend_(*kernels::CreateBackend("reference", {})), arena_(backend_.get()) {}
  std::unique_ptr<kernels::Backend> backend_;
  Arena arena_;
};

TEST_F(ArenaTest, TensorsAreAlignedAndApart) {
  ASSERT_TRUE(arena_.Reserve(4096).ok());
  auto a = arena_.Take(DType::kBF16, {3, 5});
  auto b = arena_.Take(DType::kF32, {7});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a->data) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b->data) % 64, 0u);
  EXPECT_GE(b->as<char>(), a->as<char>() + a->bytes());
  EXPECT_EQ(arena_.used_bytes(), ArenaBytes(DType::kBF16, 15) + ArenaBytes(DType::kF32, 7));
}

TEST_F(ArenaTest, AScopeGivesBackWhatWasTakenInIt) {
  ASSERT_TRUE(arena_.Reserve(4096).ok());
  ASSERT_TRUE(arena_.Take(DType::kF32, {16}).ok());
  const int64_t before = arena_.used_bytes();
  void* inner = nullptr;
  {
    const Arena::Scope scope(arena_);
    inner = arena_.Take(DType::kF32, {64})->data;
  }
  EXPECT_EQ(arena_.used_bytes(), before);
  EXPECT_EQ(arena_.Take(DType::kF32, {64})->data, inner);
  EXPECT_EQ(arena_.peak_bytes(), before + 256);
}

TEST_F(ArenaTest, RefusesMoreThanItsCapacity) {
  ASSERT_TRUE(arena_.Reserve(128).ok());
  EXPECT_TRUE(arena_.Take(DType::kF32, {16}).ok());
  EXPECT_EQ(arena_.Take(DType::kF32, {17}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(arena_.Take(DType::kF32, {16}).ok());
}

TEST_F(ArenaTest, ReserveOnlyGrows) {
  ASSERT_TRUE(arena_.Reserve(1024).ok());
  const int64_t capacity = arena_.capacity_bytes();
  ASSERT_TRUE(arena_.Reserve(10).ok());
  EXPECT_EQ(arena_.capacity_bytes(), capacity);
}

}  // namespace
}  // namespace hadal::models
