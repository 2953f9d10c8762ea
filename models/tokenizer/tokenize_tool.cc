// SPDX-License-Identifier: Apache-2.0
// hadal_tokenize_tool DIR MODE: one JSON value a line from stdin to stdout, for tests and benchmarks in other
// languages.
//   encode    string -> ids, literal added tokens recognised     encode_safe   string -> ids, as user text
//   encode_special  string -> ids with bos                        decode[_skip] ids -> string
//   stream    ids -> string through the incremental detokenizer
// An error is written as {"error": text}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "models/tokenizer/detokenizer.h"
#include "models/tokenizer/tokenizer.h"

namespace {

using hadal::tokenizer::Detokenizer;
using hadal::tokenizer::EncodeOptions;
using hadal::tokenizer::Tokenizer;
using nlohmann::json;

json Convert(const Tokenizer& tokenizer, const std::string& mode, const json& value) {
  if (mode == "decode" || mode == "decode_skip")
    return tokenizer.Decode(value.get<std::vector<int32_t>>(), mode == "decode_skip");
  if (mode == "stream") {
    Detokenizer detokenizer(tokenizer, /*skip_special_tokens=*/false);
    std::string text;
    for (const int32_t id : value.get<std::vector<int32_t>>()) text += detokenizer.Append(id);
    return text + detokenizer.Flush();
  }
  EncodeOptions options;
  options.add_special_tokens = mode == "encode_special";
  options.allow_added_tokens = mode != "encode_safe";
  const auto ids = tokenizer.Encode(value.get<std::string>(), options);
  if (!ids.ok()) return {{"error", std::string(ids.status().message())}};
  return *ids;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: hadal_tokenize_tool DIR encode|encode_safe|encode_special|decode|decode_skip|stream\n";
    return 2;
  }
  const auto tokenizer = Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status().message() << "\n";
    return 1;
  }
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) {
      std::cerr << "not JSON: " << line << "\n";
      return 1;
    }
    std::cout << Convert(**tokenizer, argv[2], value).dump() << "\n";
  }
  return 0;
}
