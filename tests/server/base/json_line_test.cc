// SPDX-License-Identifier: Apache-2.0
#include "server/base/json_line.h"

#include <string>

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

TEST(JsonLineTest, TimeComesFirstAndFieldsInOrder) {
  JsonLine line(absl::FromUnixMillis(1764444011123));
  line.Add("b", int64_t{-3});
  line.Add("a", 1234567.25);
  line.Add("c", "text");
  EXPECT_EQ(line.Take(), R"({"time":"2025-11-29T19:20:11.123Z","b":-3,"a":1234567.25,"c":"text"})");
}

TEST(JsonLineTest, ALineStaysOneLine) {
  JsonLine line(absl::UnixEpoch());
  line.Add("tenant", "a\"b\\c\nd\x01 \xc3\xa9");
  EXPECT_EQ(line.Take(), "{\"time\":\"1970-01-01T00:00:00.000Z\",\"tenant\":\"a\\\"b\\\\c\\u000ad\\u0001 \xc3\xa9\"}");
}

}  // namespace
}  // namespace hadal::base
