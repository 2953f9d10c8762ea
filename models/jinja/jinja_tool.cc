// SPDX-License-Identifier: Apache-2.0
// hadal_jinja_tool: renders templates, one JSON object a line from stdin to stdout, for tests in Python.
//   {"template", "variables", "plain"} -> {"text", "pieces"}: pieces are [text, whether a client wrote it]. The texts
//   of the variables named in "plain" count as the template's, all others as a client's.
// An error is written as {"error": text}.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "models/jinja/json_value.h"
#include "models/jinja/template.h"

namespace {

using hadal::jinja::Template;
using nlohmann::ordered_json;

ordered_json Render(const ordered_json& question) {
  const auto compiled = Template::Compile(question.at("template").get<std::string>(), "template");
  if (!compiled.ok()) return {{"error", std::string(compiled.status().message())}};
  const ordered_json plain = question.value("plain", ordered_json::array());
  Template::Variables variables;
  for (const auto& [name, json] : question.at("variables").items()) {
    const bool input = std::find(plain.begin(), plain.end(), ordered_json(name)) == plain.end();
    auto value = hadal::jinja::FromJson(json.dump(), input);
    if (!value.ok()) return {{"error", std::string(value.status().message())}};
    variables.emplace_back(name, *std::move(value));
  }
  const auto text = (*compiled)->Render(variables);
  if (!text.ok()) return {{"error", std::string(text.status().message())}};
  ordered_json pieces = ordered_json::array();
  text->ForEachRun([&](std::string_view bytes, bool input) { pieces.push_back({std::string(bytes), input}); });
  return {{"text", std::string(text->bytes())}, {"pieces", std::move(pieces)}};
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const ordered_json question = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (question.is_discarded() || !question.is_object()) {
      std::cerr << "not a JSON object: " << line << "\n";
      return 1;
    }
    std::cout << Render(question).dump() << "\n";
  }
  return 0;
}
