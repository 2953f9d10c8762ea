// SPDX-License-Identifier: Apache-2.0
#include "base/json_numbers.h"

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

TEST(JsonNumbersTest, OnlyWhatDoesNotFitChanges) {
  for (const char* json : {"", "{}", R"({"a":[1,-2,3.5,1e3,-1E-3,0],"b":true})", "9223372036854775807",
                           "18446744073709551615", "-9223372036854775808", "1.7976931348623157e308", "1e-400",
                           "123456789012345678901.5", "[1", "-", "1.2.3", "--1"}) {
    EXPECT_EQ(WidenJsonNumbers(json), json);
  }
}

TEST(JsonNumbersTest, LargeNumbersBecomeDoubles) {
  EXPECT_EQ(WidenJsonNumbers(R"({"model_max_length": 1000000000000000019884624838656})"),
            R"({"model_max_length": 1000000000000000019884624838656.0})");
  EXPECT_EQ(WidenJsonNumbers("18446744073709551616"), "18446744073709551616.0");
  EXPECT_EQ(WidenJsonNumbers("[-9223372036854775809]"), "[-9223372036854775809.0]");
  EXPECT_EQ(WidenJsonNumbers("[1e999,-1e999]"), "[1e308,-1e308]");
  EXPECT_EQ(WidenJsonNumbers(std::string(400, '9')), "1e308");
}

TEST(JsonNumbersTest, TextIsLeftAlone) {
  for (const char* json : {R"("99999999999999999999999")", R"({"99999999999999999999999":"\"99999999999999999999999"})",
                           R"("\\")", R"("open 99999999999999999999999)", R"("\)"}) {
    EXPECT_EQ(WidenJsonNumbers(json), json);
  }
}

}  // namespace
}  // namespace hadal::base
