// SPDX-License-Identifier: Apache-2.0
// What other servers do badly (docs/overload.md), as far as outputs are concerned: each scenario gives one figure and
// runs twice, on a naive parser, where the figure is beyond the bound, and on ours, where it is not.
#include <algorithm>
#include <functional>

#include "tests/models/chat/output_corpus.h"

namespace hadal::chat {
namespace {

using Parse = std::function<ParsedOutput(const OutputParser::Options&, const std::vector<std::string_view>&)>;

// A streaming parser as they are first written: it looks for a marker in each chunk by itself. `asks_template`: whether
// it knows that the prompt ended inside <think>; else the output's own <think> is what begins the reasoning.
ParsedOutput ParseNaively(const OutputParser::Options& options, const std::vector<std::string_view>& chunks,
                          bool asks_template) {
  const std::string_view opener = ToolMarkupOf(options.tool_syntax).opener;
  ParsedOutput result;
  std::string tools;
  bool reasoning = asks_template && options.starts_in_reasoning;
  for (std::string_view rest : chunks) {
    while (!rest.empty()) {
      if (!tools.empty()) {
        tools += rest;
        break;
      }
      const std::string_view think = reasoning ? kThinkEnd : kThinkBegin;
      const size_t switches = rest.find(think);
      const size_t opens = reasoning || opener.empty() ? std::string_view::npos : rest.find(opener);
      const size_t at = std::min({switches, opens, rest.size()});
      (reasoning ? result.reasoning : result.content) += rest.substr(0, at);
      if (at == rest.size()) break;
      if (opens < switches) {
        tools = rest.substr(at);
        break;
      }
      reasoning = !reasoning;
      rest.remove_prefix(at + think.size());
    }
  }
  // Once it knows that calls have begun it is no worse than ours.
  const ParsedOutput calls = ParseOutput(
      {.split_reasoning = false, .tool_syntax = options.tool_syntax, .parameter_types = options.parameter_types},
      {tools});
  result.content += calls.content;
  result.calls = calls.calls;
  return result;
}

// 4. Tool calls depend on how the text was cut. Of all cuts in two of all outputs with calls, those that change what
// the uncut text gives.
struct Cuts {
  int all = 0, wrong = 0;
};
Cuts CutsThatChangeCalls(const Parse& parse) {
  Cuts cuts;
  for (const CorpusCase& c : ReadCorpus()) {
    const std::string_view text = c.text;
    const ParsedOutput whole = parse(c.options, {text});
    if (whole.calls.empty()) continue;
    for (size_t cut = 0; cut <= text.size(); ++cut, ++cuts.all) {
      cuts.wrong += parse(c.options, {text.substr(0, cut), text.substr(cut)}) != whole;
    }
  }
  return cuts;
}

TEST(PeerFailuresTest, ToolCallsDependOnHowTheTextIsCut) {
  const Cuts naive = CutsThatChangeCalls(
      [](const auto& options, const auto& chunks) { return ParseNaively(options, chunks, /*asks_template=*/true); });
  const Cuts ours = CutsThatChangeCalls(ParseOutput);
  EXPECT_GT(naive.wrong, 0) << "the scenario no longer shows the failure";
  EXPECT_EQ(ours.wrong, 0);
  EXPECT_GT(ours.all, 5000);
  RecordProperty("naive", std::to_string(naive.wrong) + " of " + std::to_string(naive.all));
  RecordProperty("ours", std::to_string(ours.wrong) + " of " + std::to_string(ours.all));
}

// 5. Reasoning in the wrong field. Outputs with reasoning, after a prompt that ends in <think> and after one that does
// not, cut at every character: those whose reasoning or content is not where it belongs.
Cuts CutsWithMisplacedReasoning(const Parse& parse) {
  Cuts cuts;
  for (const bool open : {true, false}) {
    const std::string text = std::string(open ? "" : "<think>") + "Is 9 < 11?</think>Yes <b>.";
    const OutputParser::Options options{.starts_in_reasoning = open};
    for (size_t cut = 0; cut <= text.size(); ++cut, ++cuts.all) {
      const std::string_view view = text;
      const ParsedOutput got = parse(options, {view.substr(0, cut), view.substr(cut)});
      cuts.wrong += got != ParsedOutput{"Is 9 < 11?", "Yes <b>.", {}};
    }
  }
  return cuts;
}

TEST(PeerFailuresTest, ReasoningArrivesAsContent) {
  const Cuts naive = CutsWithMisplacedReasoning(
      [](const auto& options, const auto& chunks) { return ParseNaively(options, chunks, /*asks_template=*/false); });
  const Cuts ours = CutsWithMisplacedReasoning(ParseOutput);
  EXPECT_GT(naive.wrong, naive.all / 2) << "the scenario no longer shows the failure";
  EXPECT_EQ(ours.wrong, 0);
  RecordProperty("naive", std::to_string(naive.wrong) + " of " + std::to_string(naive.all));
}

}  // namespace
}  // namespace hadal::chat
