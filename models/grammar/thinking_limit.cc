// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/thinking_limit.h"

#include <optional>
#include <utility>

namespace hadal::grammar {

// One choice. The parser of answers reads along until reasoning has ended, so both agree about where that is.
class ThinkingLimit::Follower : public models::TokenConstraint {
 public:
  explicit Follower(std::shared_ptr<const ThinkingLimit> limit)
      : limit_(std::move(limit)),
        options_(limit_->options_),
        parser_(ParserOptions(options_)),
        inner_(options_.grammar != nullptr ? options_.grammar->Start() : nullptr) {}

  absl::StatusOr<std::shared_ptr<const models::TokenMask>> Mask() override {
    closing_ = closing_ || IsTooLong();
    if (IsClosing()) return MaskOf(options_.closing[closed_]);
    if (inner_ == nullptr) return std::shared_ptr<const models::TokenMask>();
    return inner_->Mask();
  }

  absl::Status Accept(int32_t token) override {
    if (parser_.has_value()) Follow(token);
    return inner_ == nullptr ? absl::OkStatus() : inner_->Accept(token);
  }

  bool ended() const override { return inner_ != nullptr && inner_->ended(); }

 private:
  static chat::OutputParser::Options ParserOptions(const Options& options) {
    chat::OutputParser::Options parser = options.parser;
    parser.parameter_types = nullptr;  // of tool calls, which are not read here
    return parser;
  }

  bool IsTooLong() const {
    if (!parser_.has_value() || !parser_->in_reasoning()) return false;
    return tokens_ >= options_.max_tokens ||
           (options_.end_now != nullptr && options_.end_now->load(std::memory_order_relaxed));
  }
  bool IsClosing() const { return closing_ && closed_ < options_.closing.size(); }

  void Follow(int32_t token) {
    if (IsClosing()) {
      if (closed_++ == 0 && options_.cuts != nullptr) options_.cuts->fetch_add(1, std::memory_order_relaxed);
      if (closed_ == options_.closing.size()) parser_.reset();
      return;
    }
    const bool was_reasoning = parser_->in_reasoning();
    if (was_reasoning) ++tokens_;
    const chat::ParsedDelta parsed = parser_->Push(options_.tokenizer->TokenBytes(token));
    const bool answers = !parsed.content.empty() || !parsed.tool_calls.empty();
    if (!parser_->in_reasoning() && (was_reasoning || answers)) parser_.reset();
  }

  std::shared_ptr<const models::TokenMask> MaskOf(int32_t token) const {
    auto mask = std::make_shared<models::TokenMask>((static_cast<size_t>(options_.vocab_size) + 31) / 32, 0u);
    (*mask)[static_cast<size_t>(token) / 32] |= 1u << (token % 32);
    return mask;
  }

  const std::shared_ptr<const ThinkingLimit> limit_;
  const Options& options_;
  std::optional<chat::OutputParser> parser_;  // until reasoning has ended
  const std::unique_ptr<models::TokenConstraint> inner_;
  int32_t tokens_ = 0;    // of reasoning
  bool closing_ = false;  // decided where the mask is made, so that no token comes between the decision and its mask
  size_t closed_ = 0;     // tokens of the closing that have come
};

std::unique_ptr<models::TokenConstraint> ThinkingLimit::Start() const {
  return std::make_unique<Follower>(shared_from_this());
}

}  // namespace hadal::grammar
