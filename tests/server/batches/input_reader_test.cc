// SPDX-License-Identifier: Apache-2.0
#include "server/batches/input_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/batches/input_line.h"
#include "server/batches/send_window.h"

namespace hadal::batches {
namespace {

using ::testing::HasSubstr;

constexpr InputReader::Limits kLimits = {.lines = 100, .line_bytes = 1000};

std::string Line(std::string_view id,
                 std::string_view more = R"(,"method":"POST","url":"/v1/completions","body":{"a":[1]})") {
  return absl::StrCat("{\"custom_id\":\"", std::string(id), "\"", std::string(more), "}");
}

// What is read of `text` in pieces of `piece` bytes.
std::vector<WaitingLine> Read(InputReader& reader, std::string_view text, size_t piece) {
  std::vector<WaitingLine> lines;
  for (size_t at = 0; at <= text.size(); at += piece) {
    reader.Feed(text.substr(at, piece), at + piece > text.size(), &lines);
  }
  return lines;
}

TEST(InputReaderTest, FindsLinesWhateverThePieces) {
  const std::string text = absl::StrCat(Line("one"), "\n\n  \r\n", Line("two"), "\r\n", Line("three"));
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{64}, text.size(), text.size() + 1}) {
    InputReader reader("/v1/completions", kLimits);
    const std::vector<WaitingLine> lines = Read(reader, text, piece);
    EXPECT_TRUE(reader.errors().empty()) << reader.errors()[0].message;
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[1].number, 4);
    EXPECT_EQ(lines[2].custom_id, "three");
    const std::string_view third = std::string_view(text).substr(static_cast<size_t>(lines[2].offset));
    EXPECT_EQ(third, Line("three"));
    EXPECT_EQ(lines[2].length, static_cast<int64_t>(third.size()));
    EXPECT_EQ(ParseInputLine(third, 5, "/v1/completions")->body, R"({"a":[1]})");
  }
}

TEST(InputReaderTest, SkipsAByteOrderMarkInFront) {
  const std::string mark = "\xEF\xBB\xBF";
  const std::string text = absl::StrCat(mark, Line("one"), "\r\n", Line("two"));
  for (const size_t piece : {size_t{1}, text.size() + 1}) {
    InputReader reader("/v1/completions", kLimits);
    const std::vector<WaitingLine> lines = Read(reader, text, piece);
    EXPECT_TRUE(reader.errors().empty()) << reader.errors()[0].message;
    ASSERT_EQ(lines.size(), 2u);
    const auto stored = [&](const WaitingLine& line) {
      return text.substr(static_cast<size_t>(line.offset), static_cast<size_t>(line.length));
    };
    EXPECT_EQ(stored(lines[0]), Line("one") + "\r");
    EXPECT_EQ(stored(lines[1]), Line("two"));
  }
  InputReader second("/v1/completions", kLimits);
  EXPECT_EQ(Read(second, absl::StrCat(Line("one"), "\n", mark, Line("two")), 100).size(), 1u) << "not in front";
}

TEST(InputReaderTest, ErrorsNameLineAndField) {
  const std::pair<std::string, std::string> cases[] = {
      {"nonsense", "line 2: not valid JSON: column 1: "},
      {"[]", "line 2: expected an object"},
      {Line("a", ""), "line 2: method: expected a string, found nothing"},
      {Line("a", R"(,"method":"GET","url":"/v1/completions","body":{})"),
       "line 2: method: expected 'POST', found 'GET'"},
      {Line("a", R"(,"method":"POST","url":"/v1/embeddings","body":{})"),
       "line 2: url: expected '/v1/completions', found '/v1/embeddings'"},
      {Line("a", R"(,"method":"POST","url":"/v1/completions","body":"x")"), "line 2: body: expected an object"},
      {Line("", R"(,"method":"POST")"), "line 2: custom_id: expected 1 to 512 bytes, found 0"},
      {R"({"custom_id":7})", "line 2: custom_id: expected a string, found 7"},
  };
  for (const auto& [line, message] : cases) {
    InputReader reader("/v1/completions", kLimits);
    const std::vector<WaitingLine> lines =
        Read(reader, absl::StrCat(Line("first"), "\n", line, "\n", Line("last")), 1000);
    ASSERT_EQ(reader.errors().size(), 1u) << line;
    EXPECT_THAT(reader.errors()[0].message, HasSubstr(message));
    EXPECT_EQ(reader.errors()[0].line, 2);
    EXPECT_EQ(lines.size(), 2u);
  }
}

TEST(InputReaderTest, KeepsToTheLimits) {
  InputReader many("/v1/completions", {.lines = 2, .line_bytes = 1000});
  Read(many, absl::StrCat(Line("a"), "\n", Line("b"), "\n", Line("c"), "\n", Line("d")), 16);
  ASSERT_EQ(many.errors().size(), 1u);
  EXPECT_TRUE(many.gave_up());
  EXPECT_EQ(many.errors()[0].message, "line 3: a batch may have 2 requests, and this is one more");

  InputReader longer("/v1/completions", {.lines = 2, .line_bytes = 100});
  Read(longer, absl::StrCat(Line("a"), "\n", std::string(101, 'x')), 16);
  ASSERT_EQ(longer.errors().size(), 1u);
  EXPECT_EQ(longer.errors()[0].message, "line 2: it has more than 100 bytes");

  InputReader empty("/v1/completions", kLimits);
  Read(empty, "\n \n", 16);
  ASSERT_EQ(empty.errors().size(), 1u);
  EXPECT_EQ(empty.errors()[0].code, "empty_file");

  InputReader wrong("/v1/completions", kLimits);
  std::string text;
  for (int i = 0; i < 90; ++i) text += "x\n";
  Read(wrong, text, 1000);
  EXPECT_EQ(wrong.errors().size(), InputReader::kMaxErrors);
}

TEST(SendWindowTest, IsSmallerBesideOthers) {
  const absl::Time now = absl::FromUnixSeconds(1000);
  SendWindow window(64);
  for (int i = 0; i < 3000; ++i) window.OnAnswer();
  EXPECT_EQ(window.size(), 64);
  EXPECT_TRUE(window.MayStart(63, now, false));
  EXPECT_TRUE(window.MayStart(SendWindow::kBesideOthers - 1, now, true));
  EXPECT_FALSE(window.MayStart(SendWindow::kBesideOthers, now, true));
}

TEST(SendWindowTest, GrowsWithAnswersAndHalvesOnceForRefusalsTogether) {
  const absl::Time now = absl::FromUnixSeconds(1000);
  SendWindow window(16);
  EXPECT_EQ(window.size(), 4);
  for (int i = 0; i < 200; ++i) window.OnAnswer();
  EXPECT_EQ(window.size(), 16);
  EXPECT_TRUE(window.MayStart(15, now, false));
  EXPECT_FALSE(window.MayStart(16, now, false));
  window.OnRefusal(now, now + absl::Seconds(1), absl::Seconds(3));
  window.OnRefusal(now, now + absl::Seconds(1), absl::Seconds(5));
  EXPECT_EQ(window.size(), 8);
  EXPECT_FALSE(window.MayStart(0, now + absl::Seconds(5), false));
  EXPECT_TRUE(window.MayStart(0, now + absl::Seconds(6), false));
  for (int i = 0; i < 10; ++i) {
    const absl::Time sent = now + absl::Seconds(10 + i);
    window.OnRefusal(sent, sent + absl::Milliseconds(1), absl::ZeroDuration());
  }
  EXPECT_EQ(window.size(), 1);
}

TEST(SendWindowTest, KeepsToASmallLimit) {
  SendWindow window(1);
  EXPECT_EQ(window.size(), 1);
  for (int i = 0; i < 10; ++i) window.OnAnswer();
  EXPECT_EQ(window.size(), 1);
}

}  // namespace
}  // namespace hadal::batches
