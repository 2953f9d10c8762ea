// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/normalizer.h"

#include <gtest/gtest.h>

namespace hadal::tokenizer {
namespace {

TEST(NormalizerTest, SaysHowMuchShorterATextCanBecome) {
  Normalizer none;
  EXPECT_EQ(none.MaxShrinking(), 1u);
  Normalizer nfc;
  nfc.AddNfc();
  const std::string text = "\u1FBE\u0308\u0341";
  EXPECT_GT(text.size(), 3 * nfc.Apply(text).size());
  EXPECT_GE(nfc.MaxShrinking() * nfc.Apply(text).size(), text.size());
  Normalizer metaspace;
  metaspace.AddPrepend("\u2581");
  metaspace.AddReplace(" ", "\u2581");
  EXPECT_EQ(metaspace.MaxShrinking(), 1u);
  Normalizer shortening;
  shortening.AddReplace("long", "");
  EXPECT_EQ(shortening.MaxShrinking(), 0u);
}

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
