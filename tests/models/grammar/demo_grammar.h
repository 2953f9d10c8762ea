// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "models/grammar/grammar_compiler.h"
#include "models/grammar/json_format.h"
#include "models/grammar/json_schema.h"

namespace hadal::grammar {

// Compiles grammars for the tokens of the demo model, and follows them.
inline constexpr int32_t kVocab = 1030;  // some rows more than the tokenizer has tokens
inline constexpr int32_t kEnd = 1;

class DemoGrammarTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto tokenizer = tokenizer::Tokenizer::Load(std::string(std::getenv("HADAL_SOURCE_DIR")) + "/models/demo");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *tokenizer;
    auto compiler = GrammarCompiler::Create(tokenizer_, kVocab);
    ASSERT_TRUE(compiler.ok()) << compiler.status();
    compiler_ = *compiler;
  }

  static std::shared_ptr<const CompiledGrammar> Compile(const GrammarSpec& spec) {
    auto compiled = compiler_->Compile(spec);
    EXPECT_TRUE(compiled.ok()) << compiled.status() << "\n" << spec.format;
    return compiled.ok() ? *compiled : nullptr;
  }
  static std::shared_ptr<const CompiledGrammar> CompileSchema(const std::string& schema,
                                                              Reasoning reasoning = Reasoning::kNone) {
    auto prepared = PrepareSchema(schema, SchemaDialect::kGeneral);
    EXPECT_TRUE(prepared.ok()) << prepared.status();
    return Compile(JsonSchemaSpec(*prepared, reasoning));
  }

  static std::vector<int32_t> Encode(const std::string& text) {
    return *tokenizer_->Encode(text, {.allow_added_tokens = true});
  }

  // Whether each token of `text` is allowed in turn, and the end then.
  static bool Accepts(const models::TokenGrammar& grammar, const std::string& text) {
    return AcceptsTokens(grammar, Encode(text));
  }
  static bool AcceptsTokens(const models::TokenGrammar& grammar, const std::vector<int32_t>& tokens) {
    auto constraint = grammar.Start();
    for (const int32_t token : tokens) {
      auto mask = constraint->Mask();
      EXPECT_TRUE(mask.ok()) << mask.status();
      if (!Allows(**mask, token)) {
        EXPECT_FALSE(constraint->Accept(token).ok());
        return false;
      }
      EXPECT_TRUE(constraint->Accept(token).ok());
    }
    auto mask = constraint->Mask();
    EXPECT_TRUE(mask.ok()) << mask.status();
    if (!Allows(**mask, kEnd)) return false;
    EXPECT_TRUE(constraint->Accept(kEnd).ok());
    return constraint->ended();
  }

  // Empty of tokens when there was an error.
  static models::TokenMask MaskOf(models::TokenConstraint& constraint) {
    auto mask = constraint.Mask();
    EXPECT_TRUE(mask.ok()) << mask.status();
    return mask.ok() ? **mask : models::TokenMask(64, 0u);
  }
  static bool Allows(const models::TokenMask& mask, int32_t token) {
    return (mask[token / 32] >> (token % 32) & 1u) != 0;
  }

  // How many times the token may follow.
  static int CountRepeats(models::TokenConstraint& constraint, int32_t token) {
    int count = 0;
    while (count < 500 && Allows(MaskOf(constraint), token)) {
      EXPECT_TRUE(constraint.Accept(token).ok());
      ++count;
    }
    return count;
  }

  // Takes any allowed token until the grammar ends; the text. Prefers to end and to close strings, so that it does.
  static std::string Walk(const models::TokenGrammar& grammar, uint32_t seed, int limit = 3000) {
    auto constraint = grammar.Start();
    std::mt19937 random(seed);
    std::vector<int32_t> tokens;
    while (!constraint->ended()) {
      if (static_cast<int>(tokens.size()) > limit) return "no end: " + tokenizer_->Decode(tokens, false);
      auto mask = constraint->Mask();
      EXPECT_TRUE(mask.ok()) << mask.status() << " after " << tokenizer_->Decode(tokens, false);
      if (!mask.ok()) return "";
      std::vector<int32_t> allowed;
      for (int32_t t = 0; t < kVocab; ++t) {
        if (Allows(**mask, t)) allowed.push_back(t);
      }
      int32_t token = allowed[random() % allowed.size()];
      for (const int32_t closer :
           {kEnd, *tokenizer_->TokenId("\""), *tokenizer_->TokenId("}"), *tokenizer_->TokenId("]")}) {
        if (random() % 4 == 0 && Allows(**mask, closer)) token = closer;
      }
      EXPECT_TRUE(constraint->Accept(token).ok());
      if (!constraint->ended()) tokens.push_back(token);
    }
    return tokenizer_->Decode(tokens, false);
  }

  static inline std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  static inline std::shared_ptr<const GrammarCompiler> compiler_;
};

}  // namespace hadal::grammar
