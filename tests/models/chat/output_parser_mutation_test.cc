// SPDX-License-Identifier: Apache-2.0
// Corpus outputs with pieces cut out, doubled, swapped and mixed with markers: nothing breaks, and no cut matters.
#include "tests/models/chat/output_corpus.h"

namespace hadal::chat {
namespace {

constexpr ToolSyntax kSyntaxes[] = {ToolSyntax::kNone,    ToolSyntax::kDeepSeekV3, ToolSyntax::kDeepSeekV31,
                                    ToolSyntax::kDsmlV32, ToolSyntax::kDsmlV4,     ToolSyntax::kHermes,
                                    ToolSyntax::kQwenXml, ToolSyntax::kMistral,    ToolSyntax::kLlama3};

std::vector<std::string> Pieces() {
  std::vector<std::string> pieces = {"\n",
                                     "\n\n",
                                     " ",
                                     "\t",
                                     "<",
                                     "</",
                                     "\"",
                                     "{",
                                     "}",
                                     "x",
                                     "🦙",
                                     "｜",
                                     "\xEF\xBD",
                                     "<｜DSML｜invoke name=\"f\">",
                                     "</｜DSML｜invoke>",
                                     " name=\"",
                                     "\" string=\"true\">",
                                     "<｜DSML｜parameter name=\"a\" string=\"false\">",
                                     "</｜DSML｜function_calls>",
                                     "</｜DSML｜tool_calls>",
                                     "<function=",
                                     "<function=write>",
                                     "</function>",
                                     "<parameter=tags>",
                                     "<parameter=text>",
                                     "</parameter>",
                                     "{\"name\": \"f\", \"parameters\": {}}",
                                     "; ",
                                     std::string(1100, '\n'),
                                     std::string(1030, 'n')};
  for (const std::string_view marker : ParserMarkers()) pieces.emplace_back(marker);
  for (const ToolSyntax syntax : kSyntaxes) {
    const ToolMarkup& markup = ToolMarkupOf(syntax);
    for (const std::string_view literal : {markup.opener, markup.call_begin, markup.name_end, markup.call_end,
                                           markup.parameter_begin, markup.parameter_end}) {
      if (!literal.empty()) pieces.emplace_back(literal);
    }
  }
  return pieces;
}

std::string Mutate(std::string text, const std::vector<std::string>& pieces, std::mt19937* random) {
  const auto below = [&](size_t n) { return n == 0 ? 0 : (*random)() % n; };
  for (size_t n = 1 + below(4); n > 0; --n) {
    const size_t at = below(text.size() + 1);
    switch (below(4)) {
      case 0:
        text.erase(at, 1 + below(20));
        break;
      case 1:
        text.insert(at, pieces[below(pieces.size())]);
        break;
      case 2:
        text.insert(at, text.substr(below(text.size() + 1), below(80)));
        break;
      default:
        text.resize(at);
    }
  }
  return text;
}

void ExpectNoCutMatters(const OutputParser::Options& options, const std::string& text, std::mt19937* random) {
  const ParsedOutput whole = ParseOutput(options, {text});
  ASSERT_EQ(ParseOutput(options, RandomChunks(text, 1, random)), whole) << text;
  ASSERT_EQ(ParseOutput(options, RandomChunks(text, 7, random)), whole) << text;
  const size_t cut = (*random)() % (text.size() + 1);
  const std::string_view view = text;
  ASSERT_EQ(ParseOutput(options, {view.substr(0, cut), view.substr(cut)}), whole) << text;
  // Nothing is invented: what comes out was written, but for the JSON around parameters.
  ASSERT_LE(whole.reasoning.size() + whole.content.size(), text.size()) << text;
}

TEST(OutputParserMutationTest, NoCutMattersToBrokenOutputs) {
  const std::vector<CorpusCase> corpus = ReadCorpus();
  const std::vector<std::string> pieces = Pieces();
  std::mt19937 random(21);
  for (int round = 0; round < 6000; ++round) {
    const CorpusCase& c = corpus[random() % corpus.size()];
    OutputParser::Options options = c.options;
    if (random() % 8 == 0) options.tool_syntax = kSyntaxes[random() % std::size(kSyntaxes)];
    if (random() % 8 == 0) options.starts_in_reasoning = !options.starts_in_reasoning;
    if (random() % 8 == 0) options.trim_newlines = false;
    ExpectNoCutMatters(options, Mutate(c.text, pieces, &random), &random);
    if (HasFatalFailure()) return;
  }
}

TEST(OutputParserMutationTest, NoCutMattersToMarkersInAnyOrder) {
  const std::vector<std::string> pieces = Pieces();
  std::mt19937 random(23);
  for (int round = 0; round < 6000; ++round) {
    std::string text;
    for (uint32_t n = random() % 14; n > 0; --n) text += pieces[random() % pieces.size()];
    OutputParser::Options options;
    options.tool_syntax = kSyntaxes[random() % std::size(kSyntaxes)];
    options.starts_in_reasoning = random() % 3 == 0;
    options.split_reasoning = random() % 2;
    options.parameter_types = CorpusTypes();
    ExpectNoCutMatters(options, text, &random);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace hadal::chat
