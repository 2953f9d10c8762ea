// SPDX-License-Identifier: Apache-2.0
#include "models/chat/python_json.h"

#include <gtest/gtest.h>

namespace hadal::chat {
namespace {

TEST(PythonJsonTest, SpacesLikeJsonDumps) {
  EXPECT_EQ(*ToPythonJson(R"({"b":[1,2,{"c":null}],"a":true,"e":{},"f":[]})"),
            R"({"b": [1, 2, {"c": null}], "a": true, "e": {}, "f": []})");
}

TEST(PythonJsonTest, WritesNumbersLikeRepr) {
  EXPECT_EQ(*ToPythonJson("[0,-1,18446744073709551615,-9223372036854775808]"),
            "[0, -1, 18446744073709551615, -9223372036854775808]");
  EXPECT_EQ(*ToPythonJson("[1.0,0.1,-2.50,1e5,1e15,1e16,1e22,123456.789,1e-4,0.00001,1.5e300,0.0]"),
            "[1.0, 0.1, -2.5, 100000.0, 1000000000000000.0, 1e+16, 1e+22, 123456.789, 0.0001, 1e-05, 1.5e+300, 0.0]");
}

TEST(PythonJsonTest, TakesNumbersOfAnySize) {
  EXPECT_EQ(*ToPythonJson(R"({"maximum":1000000000000000019884624838656,"minimum":-18446744073709551616})"),
            R"({"maximum": 1e+30, "minimum": -1.8446744073709552e+19})");
  EXPECT_EQ(PythonJsonMembers(R"({"n":18446744073709551616})")->at(0).value, "1.8446744073709552e+19");
  EXPECT_TRUE(IsJson("1e999"));
}

TEST(PythonJsonTest, EscapesOnlyWhatItMust) {
  EXPECT_EQ(*ToPythonJson(R"(["\u00e9\u4e2d/\/\"\\\n\t\u0001\u007f<&>"])"), "[\"é中//\\\"\\\\\\n\\t\\u0001\x7f<&>\"]");
  EXPECT_EQ(PythonJsonString("a\"b\r\b\f"), R"("a\"b\r\b\f")");
}

TEST(PythonJsonTest, RefusesWhatIsNoJson) {
  for (const std::string& bad :
       {std::string("{"), std::string(""), std::string("{\"a\":}"), std::string(1000, '['), std::string("\"\xFF\"")}) {
    EXPECT_EQ(ToPythonJson(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace hadal::chat
