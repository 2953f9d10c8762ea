// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/json_writer.h"

#include <cmath>
#include <limits>
#include <random>

#include "base/utf8.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace hadal::http {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

TEST(JsonWriterTest, EscapesWhatJsonCannotHold) {
  EXPECT_EQ(Quoted("a\"b\\c\n\r\t\b\f\x01\x7f"), "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u007f\"");
  EXPECT_EQ(Quoted("深海 naïve 😀"), "\"深海 naïve 😀\"");
}

TEST(JsonWriterTest, ReplacesInvalidUtf8ByMaximalSubparts) {
  EXPECT_EQ(Quoted("a\xff z"), "\"a\uFFFD z\"");
  EXPECT_EQ(Quoted("\xe6\xb7"), "\"\uFFFD\"");                  // cut character: one replacement
  EXPECT_EQ(Quoted("\xc0\x80"), "\"\uFFFD\uFFFD\"");            // overlong
  EXPECT_EQ(Quoted("\xed\xa0\x80"), "\"\uFFFD\uFFFD\uFFFD\"");  // surrogate
  EXPECT_EQ(Quoted("\xf5\x80"), "\"\uFFFD\uFFFD\"");
  EXPECT_EQ(base::ToValidUtf8("\xf0\x9f\x98"), "\uFFFD");
}

TEST(JsonWriterTest, RandomBytesAlwaysGiveJson) {
  std::mt19937 random(5);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const nlohmann::json parsed = nlohmann::json::parse(Quoted(bytes), nullptr, false);
    ASSERT_TRUE(parsed.is_string());
    ASSERT_EQ(parsed.get<std::string>(), base::ToValidUtf8(bytes));
  }
}

TEST(JsonWriterTest, NumbersSurviveTheRoundTrip) {
  std::string out;
  AppendJsonNumber(-0.1f, &out);
  EXPECT_EQ(out, "-0.1");
  for (const double value : {0.0, 1e300, -1.5, 1.0 / 3}) {
    out.clear();
    AppendJsonNumber(value, &out);
    EXPECT_EQ(nlohmann::json::parse(out).get<double>(), value);
  }
  for (const double value : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    out.clear();
    AppendJsonNumber(value, &out);
    EXPECT_EQ(out, "-9999");
  }
}

TEST(JsonWriterTest, PutsCommasWhereTheyBelong) {
  std::string out;
  JsonWriter json(&out);
  json.BeginObject().Key("a").BeginArray().Int(1).Null().BeginObject().EndObject().Bool(true).EndArray();
  json.Key("b").Raw("{}").Key("c").String("x").EndObject();
  EXPECT_EQ(out, R"({"a":[1,null,{},true],"b":{},"c":"x"})");
}

}  // namespace
}  // namespace hadal::http
