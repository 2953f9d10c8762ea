// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/normalizer.h"

#include <gtest/gtest.h>

namespace hadal::tokenizer {
namespace {

TEST(NormalizerTest, StepsApplyInOrder) {
  Normalizer normalizer;
  EXPECT_TRUE(normalizer.IsIdentity());
  normalizer.AddReplace("x", "e\u0301");
  normalizer.AddNfc();
  normalizer.AddPrepend("_");
  EXPECT_FALSE(normalizer.IsIdentity());
  EXPECT_EQ(normalizer.Apply("xx"), "_éé");
  EXPECT_EQ(normalizer.Apply(""), "");
}

}  // namespace
}  // namespace hadal::tokenizer
