// SPDX-License-Identifier: Apache-2.0
#include "models/json/json_field.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "models/json/json_document.h"

namespace hadal::json {
namespace {

TEST(JsonFieldTest, ErrorsNameTheWayToTheField) {
  const auto document = JsonDocument::Parse(R"({"a": {"list": ["x", 2], "none": null}})", "a.json");
  ASSERT_TRUE(document.ok()) << document.status();
  const JsonField root = (*document)->root();
  const JsonField a = *root.Get("a");
  EXPECT_EQ(a.Integer().status().message(), "a.json: a: expected an integer, found an object");
  EXPECT_EQ(a.StringAt("none").status().message(), "a.json: a.none: expected a string, found null");
  EXPECT_EQ(a.StringAt("missing").status().message(), "a.json: a.missing: expected a string, found nothing");
  const JsonField list = *a.Get("list");
  const JsonField item = list.At(list.Array()->at(0).value(), "[0]");
  EXPECT_EQ(item.Bool().status().message(), "a.json: a.list[0]: expected true or false, found \"x\"");
  EXPECT_EQ(item.Get("b").status().message(), "a.json: a.list[0]: expected an object, found \"x\"");
  EXPECT_EQ(root.Error("is odd").message(), "a.json: is odd");
}

TEST(JsonFieldTest, QuotesWhatAFileHolds) {
  EXPECT_EQ(QuoteForError("a\nb"), "a\\nb");
  const std::string most(100, 'a');
  EXPECT_EQ(QuoteForError(most), most);
  EXPECT_EQ(QuoteForError(absl::StrCat(most.substr(1), "é")), absl::StrCat(most.substr(1), "..."));
}

}  // namespace
}  // namespace hadal::json
