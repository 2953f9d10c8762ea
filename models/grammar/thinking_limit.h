// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "models/chat/output_parser.h"
#include "models/token_grammar.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::grammar {

// Ends the reasoning of each choice after so many tokens, or when it is told to: the next ones must be those of
// `closing`. The tokens before are the model's own, so they are what they would be without a limit; those of `closing`
// count as reasoning, too. Around a grammar, which then sees every token as if the model had chosen it. Immutable and
// thread-safe; shared by the choices of a request, held by shared_ptr.
class ThinkingLimit : public models::TokenGrammar, public std::enable_shared_from_this<ThinkingLimit> {
 public:
  static constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();

  struct Options {
    std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
    chat::OutputParser::Options parser;  // as the answer is parsed: it says where reasoning begins and ends
    int32_t vocab_size = 0;              // rows of the model's logits
    int32_t max_tokens = 0;              // of reasoning, behind <think>; 0: it ends at once, kNoLimit: when told to
    std::vector<int32_t> closing;        // ends reasoning: </think>, perhaps behind a sentence; not empty
    std::shared_ptr<const models::TokenGrammar> grammar;  // that the output follows; null: none
    std::shared_ptr<std::atomic<int32_t>> cuts;           // counts the choices whose reasoning was ended; may be null
    std::shared_ptr<const std::atomic<bool>> end_now;     // set by any thread: reasoning ends here; may be null
  };

  explicit ThinkingLimit(Options options) : options_(std::move(options)) {}

  std::unique_ptr<models::TokenConstraint> Start() const override;

 private:
  class Follower;

  const Options options_;
};

}  // namespace hadal::grammar
