// SPDX-License-Identifier: Apache-2.0
#include "base/lfs_pointer.h"

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

TEST(LfsPointerTest, IsKnownByItsFirstLine) {
  EXPECT_TRUE(IsLfsPointer("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"));
  EXPECT_FALSE(IsLfsPointer("version https://git-lfs"));
  EXPECT_FALSE(IsLfsPointer("{\"version\": \"https://git-lfs.github.com/spec/v1\"}"));
  EXPECT_FALSE(IsLfsPointer(""));
}

}  // namespace
}  // namespace hadal::base
