// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/chat/output_parser.h"
#include "tests/models/tokenizer/test_data.h"

namespace hadal::chat {

// Everything a parser gave, joined.
struct ParsedOutput {
  std::string reasoning;
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments

  bool operator==(const ParsedOutput&) const = default;

  void Add(const ParsedDelta& delta) {
    reasoning += delta.reasoning;
    content += delta.content;
    for (const ToolCallDelta& call : delta.tool_calls) {
      if (!call.name.empty()) {
        ASSERT_EQ(call.index, static_cast<int>(calls.size()));
        calls.emplace_back(call.name, "");
      }
      ASSERT_EQ(call.index + 1, static_cast<int>(calls.size()));
      calls.back().second += call.arguments;
    }
  }
};

inline std::ostream& operator<<(std::ostream& out, const ParsedOutput& result) {
  out << "reasoning{" << result.reasoning << "} content{" << result.content << "}";
  for (const auto& [name, arguments] : result.calls) out << " " << name << "{" << arguments << "}";
  return out;
}

inline ParsedOutput ParseOutput(const OutputParser::Options& options, const std::vector<std::string_view>& chunks) {
  OutputParser parser(options);
  ParsedOutput result;
  for (const std::string_view chunk : chunks) result.Add(parser.Push(chunk));
  result.Add(parser.Finish());
  EXPECT_EQ(parser.tool_call_count(), static_cast<int>(result.calls.size()));
  return result;
}

// Pieces of random size, at most `longest` bytes; 1 gives single bytes.
inline std::vector<std::string_view> RandomChunks(std::string_view text, size_t longest, std::mt19937* random) {
  std::vector<std::string_view> chunks;
  for (size_t at = 0; at < text.size();) {
    const size_t size = 1 + (*random)() % longest;
    chunks.push_back(text.substr(at, size));
    at += chunks.back().size();
  }
  return chunks;
}

// One case of tests/data/output_corpus, whose README describes the form.
struct CorpusCase {
  std::string name;
  OutputParser::Options options;
  bool broken_arguments = false;
  std::string text;
  ParsedOutput expected;
};

// The tools of the cases in a syntax that writes no types.
inline const ParameterTypes* CorpusTypes() {
  static const ParameterTypes types(std::vector<ChatTool>{
      {"get_weather", "", R"({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"},
         "unit": {"type": "string", "enum": ["C", "F"]}, "hourly": {"type": "boolean"}}})"},
      {"write", "", R"({"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"},
         "tags": {"type": "array"}, "mode": {"anyOf": [{"type": "string"}, {"type": "null"}]},
         "meta": {"$ref": "#/$defs/meta"}}, "$defs": {"meta": {"type": "object"}}})"}});
  return &types;
}

inline void ApplyCorpusOption(const std::string& word, CorpusCase* out) {
  if (word == "open") out->options.starts_in_reasoning = true;
  if (word == "plain") out->options.split_reasoning = false;
  if (word == "broken") out->broken_arguments = true;
  if (word == "v3") out->options.tool_syntax = ToolSyntax::kDeepSeekV3;
  if (word == "v31") out->options.tool_syntax = ToolSyntax::kDeepSeekV31;
  if (word == "v32") out->options.tool_syntax = ToolSyntax::kDsmlV32;
  if (word == "v4") out->options.tool_syntax = ToolSyntax::kDsmlV4;
  if (word == "hermes") out->options.tool_syntax = ToolSyntax::kHermes;
  if (word == "mistral") out->options.tool_syntax = ToolSyntax::kMistral;
  if (word == "llama3") out->options.tool_syntax = ToolSyntax::kLlama3;
  if (word == "qwen_xml") out->options.tool_syntax = ToolSyntax::kQwenXml;
  out->options.parameter_types = CorpusTypes();
}

inline std::vector<CorpusCase> ReadCorpus() {
  std::vector<CorpusCase> cases;
  for (const char* file : {"reasoning", "v3", "v31", "v32", "v4", "hermes", "qwen_xml", "mistral", "llama3"}) {
    std::istringstream in(tokenizer::ReadSource(std::string("tests/data/output_corpus/") + file + ".txt"));
    std::string* section = nullptr;
    bool first_line = true;
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("=== ")) {
        CorpusCase& next = cases.emplace_back();
        std::istringstream words(line.substr(4));
        words >> next.name;
        next.name = std::string(file) + "/" + next.name;
        for (std::string word; words >> word;) ApplyCorpusOption(word, &next);
        section = nullptr;
      } else if (line.starts_with("--- ")) {
        const std::string name = line.substr(4);
        ParsedOutput& expected = cases.back().expected;
        if (name.starts_with("call ")) expected.calls.emplace_back(name.substr(5), "");
        section = name == "text"        ? &cases.back().text
                  : name == "reasoning" ? &expected.reasoning
                  : name == "content"   ? &expected.content
                                        : &expected.calls.back().second;
        first_line = true;
      } else if (section != nullptr) {
        if (!first_line) section->push_back('\n');
        first_line = false;
        section->append(line);
      }
    }
  }
  return cases;
}

}  // namespace hadal::chat
