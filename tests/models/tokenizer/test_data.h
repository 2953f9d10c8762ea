// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "models/tokenizer/tokenizer.h"

namespace hadal::tokenizer {

// Content of a file of the source tree.
inline std::string ReadSource(const std::string& path) {
  const char* root = std::getenv("HADAL_SOURCE_DIR");
  std::ifstream file(std::string(root ? root : ".") + "/" + path, std::ios::binary);
  EXPECT_TRUE(file) << "cannot open " << path << " below HADAL_SOURCE_DIR";
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline std::string ReadData(const std::string& name) { return ReadSource("tests/data/tokenizer/" + name); }

inline nlohmann::json ReadJson(const std::string& name) { return nlohmann::json::parse(ReadData(name)); }

inline constexpr char kDeepSeekConfig[] =
    R"({"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": {"content": "<｜end▁of▁sentence｜>"}, "model_max_length": 4096})";

// A tokenizer of tests/data/tokenizer, with bos and eos of DeepSeek when it has them.
inline std::shared_ptr<const Tokenizer> LoadTokenizer(const std::string& style,
                                                      const std::string& config = kDeepSeekConfig) {
  auto tokenizer = Tokenizer::FromJson(ReadData(style + ".tokenizer.json"), config);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *tokenizer : nullptr;
}

}  // namespace hadal::tokenizer
