// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/grammar_compiler.h"

#include <xgrammar/compiler.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "models/chat/tool_syntax.h"
#include "models/grammar/grammar_matcher.h"
#include "models/grammar/json_format.h"
#include "models/grammar/string_slots.h"
#include "models/grammar/vocabulary_info.h"

namespace hadal::grammar {
namespace {

class Compiled final : public CompiledGrammar {
 public:
  Compiled(std::shared_ptr<const VocabularyInfo> vocabulary, xgrammar::CompiledGrammar grammar,
           std::shared_ptr<const CompiledSlots> slots, Reasoning reasoning, WhiteSpace white_space)
      : vocabulary_(std::move(vocabulary)),
        grammar_(std::move(grammar)),
        slots_(std::move(slots)),
        reasoning_(reasoning),
        white_space_(white_space),
        bytes_(static_cast<int64_t>(grammar_.MemorySizeBytes()) + (slots_ == nullptr ? 0 : slots_->bytes())) {}

  std::unique_ptr<models::TokenConstraint> Start() const override {
    return std::make_unique<GrammarMatcher>(vocabulary_, grammar_, slots_, reasoning_, white_space_);
  }
  int64_t bytes() const override { return bytes_; }

 private:
  const std::shared_ptr<const VocabularyInfo> vocabulary_;
  const xgrammar::CompiledGrammar grammar_;
  const std::shared_ptr<const CompiledSlots> slots_;
  const Reasoning reasoning_;
  const WhiteSpace white_space_;
  const int64_t bytes_;
};

class Compiler final : public GrammarCompiler {
 public:
  Compiler(std::shared_ptr<const tokenizer::Tokenizer> tokenizer, int32_t vocab_size)
      : tokenizer_(std::move(tokenizer)),
        vocabulary_(std::make_shared<const VocabularyInfo>(MakeVocabularyInfo(*tokenizer_, vocab_size))) {}

  absl::StatusOr<std::shared_ptr<const CompiledGrammar>> Compile(const GrammarSpec& spec) const override {
    Reasoning reasoning = spec.reasoning;
    std::string format = spec.format;
    if (reasoning != Reasoning::kNone) {
      // Generations put up to two line breaks after </think>; the output parser takes them away again.
      format = absl::StrCat(R"({"type":"sequence","elements":[{"type":"regex","pattern":"\\n{0,2}"},)", format, "]}");
      if (!vocabulary_->think_end.has_value() || !vocabulary_->think_begin.has_value()) {
        format = BehindReasoningText(format, reasoning);
        reasoning = Reasoning::kNone;
      }
    }
    const WhiteSpace white_space = !spec.limit_whitespace   ? WhiteSpace::kFree
                                   : spec.free_after_marker ? WhiteSpace::kFreeAfterMarker
                                                            : WhiteSpace::kLimited;
    try {
      xgrammar::GrammarCompiler compiler(vocabulary_->tokens, /*max_threads=*/1, /*cache_enabled=*/false);
      absl::StatusOr<SlottedFormat> slotted = TakeSlots(format);
      if (!slotted.ok()) return slotted.status();
      if (slotted->slots.empty()) {
        return std::make_shared<const Compiled>(vocabulary_, compiler.CompileStructuralTag(StructuralTag(format)),
                                                nullptr, reasoning, white_space);
      }
      std::shared_ptr<const CompiledSlots> slots = CompileSlots(*slotted, compiler);
      absl::StatusOr<xgrammar::Grammar> grammar = GrammarWithSlots(*slotted, slots->codes);
      if (!grammar.ok()) return grammar.status();
      return std::make_shared<const Compiled>(vocabulary_, compiler.CompileGrammar(*grammar), std::move(slots),
                                              reasoning, white_space);
    } catch (const std::exception& error) {
      return absl::InvalidArgumentError(absl::string_view(error.what()).substr(0, 512));
    }
  }

  const tokenizer::Tokenizer& tokenizer() const override { return *tokenizer_; }

 private:
  static std::string StructuralTag(const std::string& format) {
    return absl::StrCat(R"({"type":"structural_tag","format":)", format, "}");
  }

  static std::shared_ptr<const CompiledSlots> CompileSlots(const SlottedFormat& slotted,
                                                           xgrammar::GrammarCompiler& compiler) {
    const std::string_view text_end = chat::ToolMarkupOf(chat::ToolSyntax::kDsmlV32).parameter_end;
    auto compiled = std::make_shared<CompiledSlots>(
        CompiledSlots{.slots = {},
                      .codes = SlotCodes(slotted.slots.size(), slotted.shared),
                      .text_end = std::string(slotted.text ? text_end : std::string_view())});
    for (const StringSlot& slot : slotted.slots) {
      CompiledSlots::Slot& one =
          compiled->slots.emplace_back(CompiledSlots::Slot{slot.min, slot.max, std::nullopt, slot.endings});
      if (slot.form.empty()) continue;
      one.form = compiler.CompileStructuralTag(StructuralTag(JsonSchemaFormat(slot.form)));
    }
    return compiled;
  }

  absl::StatusOr<xgrammar::Grammar> GrammarWithSlots(const SlottedFormat& slotted, const SlotCodes& codes) const {
    auto plain = xgrammar::Grammar::FromStructuralTag(StructuralTag(slotted.format), vocabulary_->tokens);
    if (auto* error = std::get_if<xgrammar::StructuralTagError>(&plain); error != nullptr) {
      return absl::InvalidArgumentError(
          std::visit([](const auto& one) { return std::string(one.what()).substr(0, 512); }, *error));
    }
    absl::StatusOr<std::string> written = codes.Write(std::get<xgrammar::Grammar>(plain).SerializeJSON());
    if (!written.ok()) return written.status();
    auto grammar = xgrammar::Grammar::DeserializeJSON(*written);
    if (!std::holds_alternative<xgrammar::Grammar>(grammar)) {
      return absl::InternalError("xgrammar cannot read a grammar with slots");
    }
    return std::get<xgrammar::Grammar>(std::move(grammar));
  }

  // The markers are ordinary text here: part of the grammar.
  static std::string BehindReasoningText(const std::string& format, Reasoning reasoning) {
    const auto tag = [](absl::string_view begin) {
      return absl::StrCat(R"({"type":"tag","begin":")", begin,
                          R"(","content":{"type":"any_text","excludes":["</think>"]},"end":"</think>"})");
    };
    if (reasoning == Reasoning::kOpen)
      return absl::StrCat(R"({"type":"sequence","elements":[)", tag(""), ",", format, "]}");
    return absl::StrCat(R"({"type":"or","elements":[{"type":"sequence","elements":[)", tag("<think>"), ",", format,
                        "]},", format, "]}");
  }

  const std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  const std::shared_ptr<const VocabularyInfo> vocabulary_;
};

}  // namespace

std::string GrammarSpec::Key() const {
  return absl::StrCat(static_cast<int>(reasoning), limit_whitespace ? "w" : "-", free_after_marker ? "m" : "-", format);
}

absl::StatusOr<std::shared_ptr<const GrammarCompiler>> GrammarCompiler::Create(
    std::shared_ptr<const tokenizer::Tokenizer> tokenizer, int32_t vocab_size) {
  bool has_end = false;
  for (const int32_t id : tokenizer->eos_ids())
    has_end |= id >= 0 && id < std::min(vocab_size, tokenizer->vocab_size());
  if (!has_end) return absl::FailedPreconditionError("the tokenizer names no end token, so that no grammar could end");
  try {
    return std::make_shared<const Compiler>(std::move(tokenizer), vocab_size);
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

std::string JsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

std::string LiteralFormat(const tokenizer::Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::string> parts;
  std::string plain;
  const auto flush = [&] {
    if (!plain.empty()) parts.push_back(absl::StrCat(R"({"type":"const_string","value":)", JsonString(plain), "}"));
    plain.clear();
  };
  for (size_t at = 0; at < text.size();) {
    // Control tokens begin with < or [; the longest one that stands here counts.
    std::optional<int32_t> token;
    size_t size = 0;
    if (text[at] == '<' || text[at] == '[') {
      const char close = text[at] == '<' ? '>' : ']';
      for (size_t end = text.find(close, at); end != std::string::npos; end = text.find(close, end + 1)) {
        const std::optional<int32_t> id = tokenizer.TokenId(std::string_view(text).substr(at, end + 1 - at));
        if (!id.has_value() || !IsMatchedById(tokenizer, *id)) continue;
        token = id;
        size = end + 1 - at;
      }
    }
    if (token.has_value()) {
      flush();
      parts.push_back(absl::StrCat(R"({"type":"token","token":)", *token, "}"));
      at += size;
    } else {
      plain += text[at++];
    }
  }
  flush();
  if (parts.empty()) return R"({"type":"const_string","value":""})";
  if (parts.size() == 1) return parts[0];
  std::string out = R"({"type":"sequence","elements":[)";
  for (size_t i = 0; i < parts.size(); ++i) absl::StrAppend(&out, i == 0 ? "" : ",", parts[i]);
  return out + "]}";
}

}  // namespace hadal::grammar
