// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_metadata.h"

#include <gtest/gtest.h>

namespace hadal::batches {
namespace {

TEST(BatchMetadataTest, WhatIsWrittenIsRead) {
  const Metadata cases[] = {
      {}, {{"a", "1"}}, {{"", ""}, {"\"quoted\"", "back\\slash"}, {"lines", "a\nb\tc\x01"}, {"umlaut", "ä 服 😀"}}};
  for (const Metadata& metadata : cases) EXPECT_EQ(ReadMetadataJson(MetadataJson(metadata)), metadata);
}

TEST(BatchMetadataTest, ItIsJsonAsTheHttpRoutesKeepIt) {
  EXPECT_EQ(MetadataJson({}), "null");
  EXPECT_EQ(MetadataJson({{"a", "x\"\n"}, {"b", ""}}), "{\"a\":\"x\\\"\\u000a\",\"b\":\"\"}");
}

TEST(BatchMetadataTest, WhatIsNoneIsNone) {
  for (const char* json : {"", "null", "[]", "{\"a\":", "{\"a\":1}"})
    EXPECT_TRUE(ReadMetadataJson(json).empty()) << json;
}

}  // namespace
}  // namespace hadal::batches
