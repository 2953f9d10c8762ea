// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/tool_grammar.h"

#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "models/grammar/json_format.h"
#include "models/grammar/vocabulary_info.h"

namespace hadal::grammar {
namespace {

using chat::ToolMarkup;

std::string Group(const char* type, const std::vector<std::string>& elements) {
  return absl::StrCat(R"({"type":")", type, R"(","elements":[)", absl::StrJoin(elements, ","), "]}");
}
std::string Sequence(const std::vector<std::string>& elements) { return Group("sequence", elements); }
std::string Either(const std::vector<std::string>& elements) {
  return elements.size() == 1 ? elements[0] : Group("or", elements);
}
std::string Wrapped(const char* type, const std::string& content) {
  return absl::StrCat(R"({"type":")", type, R"(","content":)", content, "}");
}

// Writes the formats of one syntax for one set of tools.
class ToolFormats {
 public:
  ToolFormats(const tokenizer::Tokenizer& tokenizer, const ToolMarkup& markup, const std::vector<GrammarTool>& tools)
      : tokenizer_(tokenizer), markup_(markup), tools_(tools) {}

  // A whole block. `opened`: what it begins with has been written already, up to the end of this marker.
  std::string Block(bool several, std::string_view opened) const {
    const std::string_view block_begin = markup_.block_begin;
    const size_t written = End(block_begin, opened);
    std::vector<std::string> elements;
    AddLiteral(block_begin.substr(written), &elements);
    elements.push_back(Call(written > 0 ? std::string_view() : opened));
    if (several && !markup_.single_call) {
      std::vector<std::string> next;
      AddLiteral(markup_.call_separator, &next);
      next.push_back(Call({}));
      elements.push_back(Wrapped("star", Sequence(next)));
    }
    AddLiteral(markup_.block_end, &elements);
    return Sequence(elements);
  }

  std::string Lead() const { return Wrapped("optional", LiteralFormat(tokenizer_, std::string(markup_.lead))); }

 private:
  void AddLiteral(std::string_view text, std::vector<std::string>* elements) const {
    if (!text.empty()) elements->push_back(LiteralFormat(tokenizer_, std::string(text)));
  }

  static size_t End(std::string_view text, std::string_view marker) {
    const size_t begin = marker.empty() ? text.npos : text.find(marker);
    return begin == text.npos ? 0 : begin + marker.size();
  }

  std::string Call(std::string_view opened) const {
    std::vector<std::string> calls;
    for (const GrammarTool& tool : tools_) {
      std::vector<std::string> elements;
      const std::string begin = absl::StrCat(std::string(markup_.call_begin.substr(End(markup_.call_begin, opened))),
                                             tool.name, std::string(markup_.name_end));
      AddLiteral(begin, &elements);
      elements.push_back(Arguments(tool));
      AddLiteral(markup_.call_end, &elements);
      calls.push_back(Sequence(elements));
    }
    return Either(calls);
  }

  std::string Arguments(const GrammarTool& tool) const {
    if (markup_.arguments == ToolMarkup::Arguments::kJson) return JsonSchemaFormat(tool.prepared_schema);
    const bool typed = markup_.arguments == ToolMarkup::Arguments::kParameters;
    return absl::StrCat(R"({"type":"json_schema","style":")", typed ? "deepseek_xml" : "qwen_xml",
                        R"(","json_schema":)", tool.prepared_schema, "}");
  }

  const tokenizer::Tokenizer& tokenizer_;
  const ToolMarkup& markup_;
  const std::vector<GrammarTool>& tools_;
};

// Text that begins with no brace, which would open a block, and that holds no opener, whose first byte the pattern may
// have taken.
std::string TextWithoutBlock(std::string_view opener) {
  return Wrapped(
      "optional",
      Sequence({R"({"type":"regex","pattern":"[ \\t\\r\\n]*[^ \\t\\r\\n{]"})",
                absl::StrCat(R"({"type":"any_text","excludes":[)", JsonString(std::string(opener.substr(1))), "]}")}));
}

}  // namespace

GrammarSpec ToolSpec(const tokenizer::Tokenizer& tokenizer, chat::ToolSyntax syntax,
                     const std::vector<GrammarTool>& tools, ToolUse use, bool several, Reasoning reasoning) {
  const ToolMarkup& markup = chat::ToolMarkupOf(syntax);
  const ToolFormats formats(tokenizer, markup, tools);
  GrammarSpec spec;
  spec.reasoning = reasoning;
  if (use == ToolUse::kMust) {
    std::vector<std::string> elements;
    if (!markup.lead.empty()) elements.push_back(formats.Lead());
    elements.push_back(formats.Block(several, /*opened=*/{}));
    spec.format = Sequence(elements);
    spec.limit_whitespace = markup.arguments == ToolMarkup::Arguments::kJson;
    return spec;
  }
  if (markup.starts_bare) {
    const std::string block = formats.Block(several, /*opened=*/{});
    spec.format = Either({block, Sequence({LiteralFormat(tokenizer, std::string(markup.opener)), block}),
                          TextWithoutBlock(markup.opener)});
    return spec;
  }
  const std::string block = formats.Block(several, /*opened=*/markup.opener);
  const std::optional<int32_t> opener = tokenizer.TokenId(markup.opener);
  if (opener.has_value() && IsMatchedById(tokenizer, *opener)) {
    // The other markers mean nothing outside a block.
    std::vector<int32_t> others;
    for (const std::string_view marker : chat::ParserMarkers()) {
      const std::optional<int32_t> id = tokenizer.TokenId(marker);
      if (id.has_value() && id != opener && IsMatchedById(tokenizer, *id)) others.push_back(*id);
    }
    spec.format = absl::StrCat(R"({"type":"token_dispatch","loop":false,"rules":[[)", *opener, ",", block,
                               R"(]],"exclude_tokens":[)", absl::StrJoin(others, ","), "]}");
  } else {
    spec.format = absl::StrCat(R"({"type":"dispatch","loop":false,"rules":[[)", JsonString(std::string(markup.opener)),
                               ",", block, "]");
    if (!markup.other_opener.empty()) {
      absl::StrAppend(&spec.format, ",[", JsonString(std::string(markup.other_opener)), ",",
                      formats.Block(several, /*opened=*/markup.other_opener), "]");
    }
    spec.format += "]}";
  }
  return spec;
}

GrammarSpec ToolOrAnswerSpec(const tokenizer::Tokenizer& tokenizer, chat::ToolSyntax syntax,
                             const std::vector<GrammarTool>& tools, bool several, const GrammarSpec& answer) {
  const GrammarSpec calls = ToolSpec(tokenizer, syntax, tools, ToolUse::kMust, several, answer.reasoning);
  GrammarSpec either = answer;
  either.format = Either({calls.format, answer.format});
  either.free_after_marker = !calls.limit_whitespace;
  return either;
}

}  // namespace hadal::grammar
