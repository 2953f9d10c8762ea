// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "models/config/config.h"
#include "tests/models/config/config_texts.h"

namespace hadal::config {

// The configuration of a text that must be accepted.
inline ModelConfig MustParse(const std::string& text) {
  auto config = ParseModelConfig(text);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *std::move(config) : ModelConfig();
}

// The error of a text that must be refused, from a file that is called dir/config.json.
inline absl::Status ParseError(const std::string& text) {
  const auto config = ParseModelConfig(text, "dir/config.json");
  EXPECT_FALSE(config.ok()) << text;
  return config.status();
}

// The attention of a configuration that must have that kind.
template <typename Attention>
const Attention& AttentionAs(const ModelConfig& config) {
  static const Attention kNone;
  const auto* attention = std::get_if<Attention>(&config.attention);
  EXPECT_NE(attention, nullptr) << config.family;
  return attention == nullptr ? kNone : *attention;
}

// A passage of a text that is replaced, and what the error must say then.
struct BadField {
  const char* base;
  const char* from;
  const char* to;
  const char* message;
};

// `bad` is refused with an error that names the file and holds its message.
inline void ExpectRefused(const BadField& bad) {
  const absl::Status status = ParseError(With(bad.base, bad.from, bad.to));
  EXPECT_THAT(std::string(status.message()),
              ::testing::AllOf(::testing::HasSubstr("dir/config.json: "), ::testing::HasSubstr(bad.message)));
}

}  // namespace hadal::config
