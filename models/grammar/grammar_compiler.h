// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/token_grammar.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::grammar {

// Whether the text begins inside <think>, where everything is allowed but an end token, or may open it itself.
enum class Reasoning : uint8_t { kNone, kOpen, kMayOpen };

// What an answer must be. Plain data; equal specs compile to equal grammars.
struct GrammarSpec {
  std::string format;  // xgrammar's structural tag format, JSON (see json_format.h, tool_grammar.h)
  Reasoning reasoning = Reasoning::kNone;
  bool limit_whitespace = false;  // the format is JSON and literals: long white space outside strings is cut
  // Not in an answer that begins with a marker: its strings are no JSON.
  bool free_after_marker = false;

  // For caches: differs when any part does.
  std::string Key() const;
};

// Compiled for one tokenizer. Immutable, thread-safe.
class CompiledGrammar : public models::TokenGrammar {
 public:
  virtual int64_t bytes() const = 0;  // memory that it holds, roughly
};

// Compiles specs for one model's tokens. Control tokens (see Tokenizer::IsControl) never stand for text: a grammar
// allows one only where it names that token. Immutable and thread-safe.
class GrammarCompiler {
 public:
  // `vocab_size`: the model's rows; ids without a token are never allowed. Takes about 50 ms for 128,000 tokens.
  // FailedPrecondition when the tokenizer names no end token.
  static absl::StatusOr<std::shared_ptr<const GrammarCompiler>> Create(
      std::shared_ptr<const tokenizer::Tokenizer> tokenizer, int32_t vocab_size);
  virtual ~GrammarCompiler() = default;

  // Takes milliseconds to seconds and one core, and cannot be interrupted. InvalidArgument when xgrammar refuses the
  // format; nothing is thrown.
  virtual absl::StatusOr<std::shared_ptr<const CompiledGrammar>> Compile(const GrammarSpec& spec) const = 0;

  virtual const tokenizer::Tokenizer& tokenizer() const = 0;
};

// The format that matches `text` byte for byte; control tokens in it are matched as tokens. JSON.
std::string LiteralFormat(const tokenizer::Tokenizer& tokenizer, const std::string& text);
// A string as JSON text; bytes that are no UTF-8 become U+FFFD.
std::string JsonString(const std::string& text);

}  // namespace hadal::grammar
