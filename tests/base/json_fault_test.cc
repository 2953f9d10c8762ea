// SPDX-License-Identifier: Apache-2.0
#include "base/json_fault.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

TEST(JsonFaultTest, ValidTextsHaveNone) {
  for (const char* json : {"{}", "[]", " {\"a\" : [1, -0.5e+3, true, false, null, \"\\u00e9\\n\\\"\"]}\r\n", "0",
                           "\"\"", "[[], {\"b\": {}}]", "\"\xE4\xBD\xA0\""}) {
    EXPECT_EQ(DescribeJsonFault(json), "") << json;
  }
  EXPECT_EQ(DescribeJsonFault(std::string(100000, '[') + std::string(100000, ']')), "");
}

TEST(JsonFaultTest, NamesPlaceAndCause) {
  const std::string long_word(100, 'x');
  for (const auto& [json, fault] : std::vector<std::pair<std::string, std::string>>{
           {R"({"a": NaN})", "line 1, column 7: `NaN` is no JSON value"},
           {R"({"a": -Infinity})", "line 1, column 7: `-Infinity` is no JSON value"},
           {R"({"a": 01})", "line 1, column 7: `01` is no JSON value"},
           {R"({"a": 1.})", "line 1, column 7: `1.` is no JSON value"},
           {R"({"a": True})", "line 1, column 7: `True` is no JSON value"},
           {"[" + long_word + "]", "line 1, column 2: `" + long_word.substr(0, 32) + "` is no JSON value"},
           {"{\"a\": 1,\n}", "line 2, column 1: expected a name in double quotes, found `}`"},
           {"[1,]", "line 1, column 4: expected a value, found `]`"},
           {"[1 2]", "line 1, column 4: expected `,` or `]`, found `2`"},
           {"{'a': 1}", "line 1, column 2: expected a name in double quotes or `}`, found `'`"},
           {"{\"a\" 1}", "line 1, column 6: expected `:`, found `1`"},
           {"{\"a\": 1]", "line 1, column 8: expected `,` or `}`, found `]`"},
           {"{} {}", "line 1, column 4: `{` follows the end of the JSON text"},
           {"{\"a\": ", "line 1, column 7: the text ends where a value is expected"},
           {"{", "line 1, column 2: the text ends where a name in double quotes or `}` is expected"},
           {"", "line 1, column 1: the text ends where a value is expected"},
           {"[\"a\n\"]", "line 1, column 4: the control character 0x0A in a string must be escaped"},
           {R"(["\x"])", "line 1, column 3: `\\x` is no escape of JSON"},
           {R"(["\u12"])", "line 1, column 3: `\\u12\"]` is no escape of JSON"},
           {R"(["abc)", "line 1, column 2: a string has no closing quote"},
           {R"(["abc\)", "line 1, column 2: a string has no closing quote"},
           {"[\"a\xFF\"]", "line 1, column 4: the byte 0xFF is not valid UTF-8"},
           {"\xEF\xBB\xBF{}", "line 1, column 1: expected a value, found `?`"},
           {std::string("{}\0", 3), "line 1, column 3: `?` follows the end of the JSON text"},
       }) {
    EXPECT_EQ(DescribeJsonFault(json), fault) << json;
  }
}

TEST(JsonFaultTest, HalvesOfPairsBecomeTheReplacementCharacter) {
  for (const auto& [json, replaced] : std::vector<std::pair<std::string, std::string>>{
           {R"("a\ud83d")", R"("a\ufffd")"},
           {R"("\uDE00 b")", R"("\ufffd b")"},
           {R"("\ud83d\ude00")", R"("\ud83d\ude00")"},
           {R"("\ud83d\ud83d\ude00")", R"("\ufffd\ud83d\ude00")"},
           {R"("\ude00\ud83d")", R"("\ufffd\ufffd")"},
           {R"("\\ud83d")", R"("\\ud83d")"},
           {R"("\\\ud83d\n")", R"("\\\ufffd\n")"},
           {R"("\ud83)", R"("\ud83)"},
           {R"("\)", R"("\)"},
       }) {
    EXPECT_EQ(ReplaceLoneSurrogates(json), replaced) << json;
  }
}

}  // namespace
}  // namespace hadal::base
