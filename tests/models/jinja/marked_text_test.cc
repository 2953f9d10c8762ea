// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/marked_text.h"

#include <gtest/gtest.h>

namespace hadal::jinja {
namespace {

// Input in capitals, the rest as it is: "abC" has one byte of input.
MarkedText Of(std::string_view letters) {
  MarkedText text;
  for (const char& c : letters) text.Append(std::string_view(&c, 1), c >= 'A' && c <= 'Z');
  return text;
}

std::string Marks(const MarkedText& text) {
  std::string marks;
  for (size_t i = 0; i < text.size(); ++i) marks += text.IsInput(i) ? 'I' : '-';
  return marks;
}

TEST(MarkedTextTest, EveryByteKnowsItsOrigin) {
  EXPECT_EQ(Marks(Of("abCDe")), "--II-");
  EXPECT_EQ(Marks(MarkedText("xyz", true)), "III");
  EXPECT_EQ(Marks(MarkedText()), "");
  EXPECT_FALSE(Of("A").IsInput(1));
}

TEST(MarkedTextTest, EverySliceKeepsItsMarks) {
  const std::string letters = "abCDeFGHij";
  const MarkedText text = Of(letters);
  for (size_t begin = 0; begin <= letters.size(); ++begin) {
    for (size_t end = begin; end <= letters.size(); ++end) {
      const MarkedText slice = text.Slice(begin, end);
      EXPECT_EQ(slice.bytes(), letters.substr(begin, end - begin));
      EXPECT_EQ(Marks(slice), Marks(text).substr(begin, end - begin));
    }
  }
}

TEST(MarkedTextTest, JoiningKeepsBothSides) {
  MarkedText text = Of("aB");
  text.Append(Of("Cd"));
  text.Append(MarkedText());
  text.Append(text);
  EXPECT_EQ(text.bytes(), "aBCdaBCd");
  EXPECT_EQ(Marks(text), "-II--II-");
}

TEST(MarkedTextTest, RunsAreAsLongAsTheyCanBe) {
  std::string runs;
  Of("abCDeF").ForEachRun(
      [&](std::string_view bytes, bool input) { runs += std::string(bytes) + (input ? "+ " : "- "); });
  EXPECT_EQ(runs, "ab- CD+ e- F+ ");
}

}  // namespace
}  // namespace hadal::jinja
