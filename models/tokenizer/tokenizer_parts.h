// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/json/json_field.h"
#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/bpe.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/pretokenizer.h"
#include "models/tokenizer/vocabulary.h"

namespace hadal::tokenizer {

using json::JsonField;

// What a tokenizer.json describes, ready to use.
struct TokenizerParts {
  // As sentencepiece writes them: tokens are made of characters, U+2581 stands for a space. Here it is one: in the
  // vocabulary, and in every text before it is encoded. Otherwise tokens are made of bytes (ByteLevel).
  bool characters = false;
  std::unique_ptr<Vocabulary> vocabulary;
  std::unique_ptr<Bpe> bpe;  // refers to *vocabulary
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  std::vector<AddedToken> added_tokens;
  std::vector<int32_t> prefix_ids;  // what add_special_tokens puts before and after the text
  std::vector<int32_t> suffix_ids;
  bool marks_spaces = false;        // the normalizer puts U+2581 for them, which no added token is widened over
  bool strips_first_space = false;  // decoding drops the space in front, which encoding has put there
};

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
// The text with spaces for these marks.
std::string WithSpaces(std::string_view text);

// What hadal reads of tokenizer_config.json and generation_config.json; absent values are empty.
struct TokenizerConfig {
  std::string bos_token;
  std::string eos_token;
  std::string unk_token;
  std::string tokenizer_class;
  std::string chat_template;
  std::string chat_template_file = "tokenizer_config.json";  // where it stood
  std::string tool_chat_template;                            // the one named "tool_use" of a list
  // bos_token, eos_token, pad_token ... as templates know them, those that are there.
  std::vector<std::pair<std::string, std::string>> special_tokens;
  bool add_bos_token = false;
  bool add_eos_token = false;
  bool add_bos_token_given = false;
  int64_t model_max_length = 0;
  std::vector<int64_t> generation_eos_ids;
  int64_t generation_bos_id = -1;
};

// Texts are at most kMaxTokenizerJsonBytes; every error is InvalidArgument and names file, key, expected and found.
inline constexpr size_t kMaxTokenizerJsonBytes = size_t{256} << 20;
absl::StatusOr<TokenizerParts> ParseTokenizerJson(std::string_view json);
absl::Status ParseTokenizerConfig(std::string_view json, TokenizerConfig* config);
// chat_template.json: an object with "chat_template", in the forms of the config's.
absl::Status ParseChatTemplateJson(std::string_view json, TokenizerConfig* config);
absl::Status ParseGenerationConfig(std::string_view json, TokenizerConfig* config);

// The parts of tokenizer.json, by key. `root` is the whole document.
absl::Status ReadModel(const JsonField& root, TokenizerParts* parts);  // model, added_tokens
// The decoder tells which of both kinds of vocabulary it is, and must be read before the others.
absl::Status ReadDecoder(const JsonField& field, TokenizerParts* parts);        // decoder
absl::Status ReadNormalizer(const JsonField& field, TokenizerParts* parts);     // normalizer
absl::Status ReadPretokenizer(const JsonField& field, TokenizerParts* parts);   // pre_tokenizer
absl::Status ReadPostProcessor(const JsonField& field, TokenizerParts* parts);  // post_processor

}  // namespace hadal::tokenizer
