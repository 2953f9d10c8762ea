// SPDX-License-Identifier: Apache-2.0
// bench_grammar TOKENIZER_DIR [WALKS]: compiles schemas as programs send them and walks along their masks, taking a
// random allowed token each time. Prints one JSON object: time to compile, and the time of a mask and of accepting a
// token, as CPU time of the one thread, so that other work on the machine does not count.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "models/grammar/grammar_compiler.h"
#include "models/grammar/json_format.h"
#include "models/grammar/json_schema.h"
#include "models/grammar/tool_grammar.h"

namespace hadal::grammar {
namespace {

using Json = nlohmann::ordered_json;

double CpuMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

Json Object(Json properties, bool required = true) {
  Json names = Json::array();
  for (const auto& [name, unused] : properties.items()) names.push_back(name);
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", required ? names : Json::array()},
          {"additionalProperties", false}};
}

std::map<std::string, std::string> Schemas() {
  const Json text = {{"type", "string"}}, whole = {{"type", "integer"}}, number = {{"type", "number"}};
  const Json person =
      Object({{"name", text},
              {"age", {{"type", "integer"}, {"minimum", 0}, {"maximum", 150}}},
              {"email", {{"type", "string"}, {"format", "email"}}},
              {"tags", {{"type", "array"}, {"items", text}}},
              {"address", Object({{"street", text}, {"zip", {{"type", "string"}, {"pattern", "^[0-9]{5}$"}}}})}});
  const Json line =
      Object({{"article", text}, {"amount", whole}, {"price", number}, {"unit", {{"enum", {"piece", "kg", "m"}}}}});
  Json optional = Json::object();
  for (int i = 0; i < 24; ++i) optional["option_" + std::to_string(i)] = i % 2 == 0 ? text : whole;
  Json wide = Json::object();
  for (int i = 0; i < 60; ++i) wide["field_" + std::to_string(i)] = i % 3 == 0 ? text : number;
  Json tree = {{"$ref", "#/$defs/node"}};
  tree["$defs"]["node"] =
      Object({{"title", text}, {"children", {{"type", "array"}, {"items", {{"$ref", "#/$defs/node"}}}}}});
  // As pydantic writes constrained models.
  const auto bounded = [](int min, int max) -> Json {
    return {{"type", "string"}, {"minLength", min}, {"maxLength", max}};
  };
  const Json listing = Object({{"name", bounded(1, 40)},
                               {"summary", bounded(20, 256)},
                               {"code", {{"type", "string"}, {"pattern", "^[a-z ]{0,100}$"}}},
                               {"title", {{"type", "string"}, {"pattern", "^.{1,80}$"}}},
                               {"tags", {{"type", "array"}, {"items", bounded(1, 12)}}},
                               {"note", {{"anyOf", {bounded(0, 256), {{"type", "null"}}}}}}});
  // Several strings at a time: which branch it is shows only at the end.
  const Json alike = {{"type", "array"},
                      {"items",
                       {{"anyOf",
                         {Object({{"text", bounded(1, 40)}, {"kind", {{"const", "short"}}}}),
                          Object({{"text", bounded(20, 200)}, {"kind", {{"const", "long"}}}}),
                          Object({{"text", text}, {"kind", {{"enum", {"free", "other"}}}}})}}}}};
  return {{"lengths", listing.dump()},
          {"lengths_alike", alike.dump()},
          {"person", person.dump()},
          {"invoice", Object({{"number", text},
                              {"date", {{"type", "string"}, {"format", "date"}}},
                              {"lines", {{"type", "array"}, {"items", line}}}})
                          .dump()},
          {"union", Object({{"result", {{"anyOf", {person, line, text, {{"type", "null"}}}}}},
                            {"kind", {{"enum", {"a", "b", "c"}}}}})
                        .dump()},
          {"optional_24", Object(optional, false).dump()},
          {"wide_60", Object(wide).dump()},
          {"tree", tree.dump()},
          {"any_object", R"({"type":"object"})"}};
}

struct Times {
  std::vector<double> mask, accept;
};

// Tokens that close something are taken more often than one in a hundred thousand.
void Walk(const CompiledGrammar& grammar, const tokenizer::Tokenizer& tokenizer, int32_t vocab, uint32_t seed,
          Times* times) {
  std::vector<int32_t> closers = tokenizer.eos_ids();
  for (const char* text : {"\"", "}", "]", ",", "\",", "\"}"}) {
    if (const auto id = tokenizer.TokenId(text); id.has_value()) closers.push_back(*id);
  }
  auto constraint = grammar.Start();
  std::mt19937 random(seed);
  for (int step = 0; step < 400 && !constraint->ended(); ++step) {
    double begin = CpuMicroseconds();
    auto mask = constraint->Mask();
    times->mask.push_back(CpuMicroseconds() - begin);
    if (!mask.ok()) std::exit(1);
    const auto allows = [&](int32_t t) { return *mask == nullptr || ((**mask)[t / 32] >> (t % 32) & 1u) != 0; };
    int32_t token = static_cast<int32_t>(random() % vocab);
    while (!allows(token)) token = (token + 1) % vocab;
    for (const int32_t closer : closers) {
      if (random() % 8 == 0 && allows(closer)) token = closer;
    }
    begin = CpuMicroseconds();
    if (!constraint->Accept(token).ok()) std::exit(1);
    times->accept.push_back(CpuMicroseconds() - begin);
  }
}

double Quantile(std::vector<double>& values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

int Main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: bench_grammar TOKENIZER_DIR [WALKS]\n"), 2;
  auto tokenizer = tokenizer::Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) return std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str()), 1;
  const int walks = argc > 2 ? std::atoi(argv[2]) : 40;
  const int32_t vocab = (*tokenizer)->vocab_size();
  double begin = CpuMicroseconds();
  auto compiler = GrammarCompiler::Create(*tokenizer, vocab);
  if (!compiler.ok()) return std::fprintf(stderr, "%s\n", std::string(compiler.status().message()).c_str()), 1;
  Json metrics = {{"vocabulary_ms", (CpuMicroseconds() - begin) / 1e3}};

  std::map<std::string, GrammarSpec> specs;
  std::vector<GrammarTool> tools;
  for (const auto& [name, schema] : Schemas()) {
    const std::string prepared = *PrepareSchema(schema, SchemaDialect::kGeneral);
    specs[name] = JsonSchemaSpec(prepared, Reasoning::kNone);
    if (name == "person" || name == "invoice") tools.push_back({name, prepared});
  }
  specs["tools_v31"] =
      ToolSpec(**tokenizer, chat::ToolSyntax::kDeepSeekV31, tools, ToolUse::kMust, true, Reasoning::kNone);
  specs["tools_v32"] = ToolSpec(**tokenizer, chat::ToolSyntax::kDsmlV32, tools, ToolUse::kMust, true, Reasoning::kNone);
  Times all;
  for (const auto& [name, spec] : specs) {
    begin = CpuMicroseconds();
    auto grammar = (*compiler)->Compile(spec);
    const double compile = CpuMicroseconds() - begin;
    if (!grammar.ok())
      return std::fprintf(stderr, "%s: %s\n", name.c_str(), std::string(grammar.status().message()).c_str()), 1;
    Times times;
    for (int seed = 0; seed < walks; ++seed) Walk(**grammar, **tokenizer, vocab, seed, &times);
    all.mask.insert(all.mask.end(), times.mask.begin(), times.mask.end());
    all.accept.insert(all.accept.end(), times.accept.begin(), times.accept.end());
    metrics[name + "_compile_ms"] = compile / 1e3;
    metrics[name + "_kib"] = static_cast<double>((*grammar)->bytes()) / 1024;
    metrics[name + "_mask_p50_us"] = Quantile(times.mask, 0.5);
    metrics[name + "_mask_p99_us"] = Quantile(times.mask, 0.99);
    metrics[name + "_accept_p99_us"] = Quantile(times.accept, 0.99);
  }
  metrics["mask_p50_us"] = Quantile(all.mask, 0.5);
  metrics["mask_p99_us"] = Quantile(all.mask, 0.99);
  metrics["mask_p999_us"] = Quantile(all.mask, 0.999);
  metrics["accept_p50_us"] = Quantile(all.accept, 0.5);
  metrics["accept_p99_us"] = Quantile(all.accept, 0.99);
  const Json out = {{"metrics", metrics},
                    {"settings", {{"vocabulary", vocab}, {"walks_per_schema", walks}, {"tokens", all.mask.size()}}}};
  std::puts(out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace hadal::grammar

int main(int argc, char** argv) { return hadal::grammar::Main(argc, argv); }
