// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/unicode/nfc.h"

#include <gtest/gtest.h>

#include "tests/models/tokenizer/test_data.h"

namespace hadal::unicode {
namespace {

TEST(NfcTest, ComposesAsTokenizersDoes) {
  const nlohmann::json goldens = tokenizer::ReadJson("nfc.json");
  ASSERT_GE(goldens.size(), 300u);
  for (const nlohmann::json& golden : goldens) {
    EXPECT_EQ(ToNfc(golden[0].get<std::string>()), golden[1].get<std::string>());
  }
}

TEST(NfcTest, ComposesAcrossTheAsciiBorder) {
  EXPECT_EQ(ToNfc("cafe\u0301 e\u0301"), "café é");
  EXPECT_EQ(ToNfc("\u0301a"), "\u0301a");
  EXPECT_EQ(ToNfc("\u1100\u1161\u11A8x"), "각x");
  EXPECT_EQ(ToNfc("a\u0323\u0307"), "ạ\u0307");
  EXPECT_EQ(ToNfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(ToNfc("\u2126\u212B"), "ΩÅ");
  EXPECT_EQ(ToNfc(""), "");
}

TEST(NfcTest, ManyMarksInARowStayFast) {
  std::string text = "a";
  for (int i = 0; i < 100000; ++i) text += i % 2 ? "\u0301" : "\u0316";
  EXPECT_EQ(ToNfc(text).size(), text.size() - 1);  // one acute joins the a: 3 bytes become 2
}

}  // namespace
}  // namespace hadal::unicode
