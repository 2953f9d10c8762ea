// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace hadal::tokenizer {

struct EncodeOptions {
  // Adds what the checkpoint's post-processor adds (usually bos in front).
  bool add_special_tokens = false;
  // true: literal text such as "<think>" or "<｜User｜>" becomes the control token, as in Hugging Face `tokenizers`.
  // false: user text never becomes a control token (see Tokenizer::IsControl); such text is encoded byte by byte.
  bool allow_added_tokens = false;
  // Encoding ends with OutOfRange as soon as there are more; what add_special_tokens adds is not counted.
  size_t max_tokens = kAnyNumber;

  static constexpr size_t kAnyNumber = std::numeric_limits<size_t>::max();
};

// A stretch of a prompt. `control` marks literals of a template, in which added tokens are recognised;
// everything else is text of a user and never becomes a control token.
struct TextSegment {
  std::string_view text;
  bool control = false;
};

// Byte-level BPE, or BPE as sentencepiece has it, straight from tokenizer.json, with the results of Hugging Face
// `tokenizers`. Immutable and thread-safe after loading; shared by all streams of a model.
class Tokenizer {
 public:
  // Reads tokenizer.json (required), tokenizer_config.json, generation_config.json, chat_template.jinja,
  // chat_template.json and additional_chat_templates/tool_use.jinja (optional) of a checkpoint folder. Errors name the
  // file, the key, what was expected and what was found.
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> Load(const std::string& dir);

  // The same from memory; empty config texts mean "no such file".
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> FromJson(std::string_view tokenizer_json,
                                                                   std::string_view tokenizer_config_json = {},
                                                                   std::string_view generation_config_json = {});

  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Time is O(n log n) at worst for any text, spaces and repeated characters included.
  // InvalidArgument for text that is not UTF-8 (names the byte offset) or longer than kMaxTextBytes.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, EncodeOptions options = {}) const;

  // Encodes consecutive segments as one text: ordinary text on both sides of a segment border is merged as if it had
  // been written in one piece, so templates whose literals are plain text ("User: ") give the ids of the rendered
  // string.
  // `max_tokens` as in EncodeOptions.
  absl::StatusOr<std::vector<int32_t>> EncodeSegments(absl::Span<const TextSegment> segments, bool add_special_tokens,
                                                      size_t max_tokens = EncodeOptions::kAnyNumber) const;

  // Bytes of all tokens, invalid UTF-8 replaced by U+FFFD per maximal subpart. Ids outside the vocabulary give nothing.
  // Where encoding puts a space in front (sentencepiece), the first one is dropped.
  std::string Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const;

  // Raw bytes of one token (may be part of a character); empty for ids that have no token.
  std::string_view TokenBytes(int32_t id) const;

  // Listed in added_tokens with "special": true. Decode skips these on request.
  bool IsSpecial(int32_t id) const;
  // Listed in added_tokens.
  bool IsAdded(int32_t id) const;
  // Special, or added with a punctuation mark or symbol in its content (<think>, <｜User｜>): what user text must never
  // become. Other added tokens, and those of one character (ø ö ÷ ... of deepseek-llm), are ordinary text.
  bool IsControl(int32_t id) const;
  // Whether some token has this id.
  bool IsValid(int32_t id) const;

  // Id of a token by its content as written in tokenizer.json's added_tokens, or by its raw bytes in the vocabulary.
  std::optional<int32_t> TokenId(std::string_view content) const;

  // Highest id + 1. The embedding of a model may have more rows.
  int32_t vocab_size() const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  // Every id that ends a generation: eos_token and all of generation_config.json's eos_token_id.
  const std::vector<int32_t>& eos_ids() const;
  const std::string& bos_token() const;
  const std::string& eos_token() const;
  // Jinja source: chat_template.jinja, else chat_template.json, else tokenizer_config.json (the one named "default" of
  // a list); empty without one.
  const std::string& chat_template() const;
  // The file that it stood in, for messages.
  const std::string& chat_template_file() const;
  // The template for chats with tools, where the checkpoint has one of its own; empty otherwise.
  const std::string& tool_chat_template() const;
  // bos_token, eos_token, pad_token ... with their texts, as templates know them.
  const std::vector<std::pair<std::string, std::string>>& special_tokens() const;
  // 0 when tokenizer_config.json has none (or one of the absurdly large placeholders).
  int64_t model_max_length() const;

  // No text gives fewer tokens than its bytes divided by this. 0: nothing is promised, because something in
  // tokenizer.json can leave text out.
  size_t max_bytes_per_token() const;

  static constexpr size_t kMaxTextBytes = size_t{1} << 30;

 private:
  struct Impl;
  // The templates of files of their own replace those of the config unless they are empty.
  struct TemplateFiles {
    std::string jinja;     // chat_template.jinja
    std::string json;      // chat_template.json
    std::string tool_use;  // additional_chat_templates/tool_use.jinja
  };
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> Build(std::string_view tokenizer_json,
                                                                std::string_view tokenizer_config_json,
                                                                std::string_view generation_config_json,
                                                                const TemplateFiles& templates);
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal::tokenizer
