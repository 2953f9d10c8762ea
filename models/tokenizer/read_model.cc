// SPDX-License-Identifier: Apache-2.0
// The vocabulary, the merges and the added tokens of a tokenizer.json.
#include <algorithm>
#include <charconv>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/utf8.h"
#include "models/concat.h"
#include "models/status_macros.h"
#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/tokenizer_parts.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::tokenizer {
namespace {

constexpr size_t kMaxTokenBytes = 16384;

// Ids may leave gaps (padding rows, reserved ranges), but tables are sized by the highest one, so it is bounded by what
// the file really holds.
int64_t IdLimit(size_t tokens) { return static_cast<int64_t>(tokens) * 16 + 262144; }

// Token strings with characters outside the byte alphabet: they can be named by merges and added tokens, never reached
// by text.
using OtherTokens = std::unordered_map<std::string_view, int32_t>;

class ModelReader {
 public:
  ModelReader(const JsonField& root, TokenizerParts* parts) : root_(root), parts_(parts) {
    std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  }

  absl::Status Read() {
    HADAL_ASSIGN_OR_RETURN(const JsonField model, root_.Get("model"));
    if (!model.IsObject()) return model.Expected("an object");
    HADAL_RETURN_IF_ERROR(CheckKind(model));
    HADAL_RETURN_IF_ERROR(ReadVocabulary(model));
    HADAL_RETURN_IF_ERROR(ReadAddedTokens());
    return ReadBpe(model);
  }

 private:
  absl::Status CheckKind(const JsonField& model) {
    HADAL_ASSIGN_OR_RETURN(const JsonField type, model.Get("type"));
    if (!type.IsNull()) {
      HADAL_ASSIGN_OR_RETURN(const std::string_view name, type.String());
      if (name != "BPE") return type.Expected("\"BPE\" (no other model is supported)");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      HADAL_ASSIGN_OR_RETURN(const JsonField field, model.Get(key));
      if (field.IsNull()) continue;
      HADAL_ASSIGN_OR_RETURN(const std::string_view text, field.String());
      if (!text.empty()) return field.Expected("null or \"\" (not supported)");
    }
    HADAL_ASSIGN_OR_RETURN(const JsonField dropout, model.Get("dropout"));
    if (!dropout.IsNull()) return dropout.Expected("null (dropout is for training)");
    return absl::OkStatus();
  }

  absl::Status ReadVocabulary(const JsonField& model) {
    HADAL_ASSIGN_OR_RETURN(const JsonField field, model.Get("vocab"));
    HADAL_ASSIGN_OR_RETURN(const simdjson::dom::object vocab, field.Object());
    size_t tokens = 0;
    size_t bytes = 0;
    for (const auto& [key, value] : vocab) {
      ++tokens;
      bytes += key.size();
    }
    parts_->vocabulary = std::make_unique<Vocabulary>();
    parts_->vocabulary->Reserve(tokens, bytes);
    id_limit_ = IdLimit(tokens);
    for (const auto& [key, value] : vocab) {
      int64_t id = 0;
      if (value.get_int64().get(id) != simdjson::SUCCESS) {
        return field.At(value, models::Concat("[\"", key, "\"]")).Expected("an integer");
      }
      if (key.empty() || key.size() > kMaxTokenBytes) {
        return field.Error(
            models::Concat("token ", id, " has ", key.size(), " bytes; allowed are 1 to ", kMaxTokenBytes));
      }
      HADAL_RETURN_IF_ERROR(CheckId(field, key, id));
      const int32_t token_id = static_cast<int32_t>(id);
      if (parts_->characters && AddByteToken(key, token_id)) continue;
      const bool reachable = ToBytes(key);
      if (reachable ? parts_->vocabulary->Find(bytes_) >= 0 : !others_.emplace(key, token_id).second) {
        return field.Error(models::Concat("token \"", key, "\" is listed twice"));
      }
      if (!parts_->vocabulary->Add(token_id, reachable ? std::string_view(bytes_) : key, reachable)) {
        return field.Error(models::Concat("id ", id, " is used twice, once by \"", key, "\""));
      }
    }
    if (tokens == 0) return field.Error("holds no token");
    return absl::OkStatus();
  }

  absl::Status CheckId(const JsonField& field, std::string_view content, int64_t id) const {
    if (id >= 0 && id < id_limit_) return absl::OkStatus();
    return field.Error(models::Concat("token \"", content.substr(0, 60), "\" has the id ", id,
                                      "; for this number of tokens it must be 0 to ", id_limit_ - 1));
  }

  // Sets bytes_ to the text that a token's string stands for. False where no text gives the token.
  bool ToBytes(std::string_view key) {
    if (!parts_->characters) return AlphabetToBytes(key, &bytes_);
    bytes_ = WithSpaces(key);
    return others_.find(key) == others_.end();
  }

  // <0x41> stands for the byte, and only for one of a character that has no token.
  bool AddByteToken(std::string_view key, int32_t id) {
    unsigned value = 0;
    if (key.size() != 6 || !key.starts_with("<0x") || key[5] != '>') return false;
    if (std::from_chars(key.data() + 3, key.data() + 5, value, 16).ptr != key.data() + 5) return false;
    const char byte = static_cast<char>(value);
    if (!parts_->vocabulary->Add(id, std::string_view(&byte, 1), /*searchable=*/false)) return false;
    byte_ids_[value] = id;
    return others_.emplace(key, id).second;
  }

  // Id of a token string as the file writes it, or -1.
  int32_t FindWritten(std::string_view text) {
    if (ToBytes(text)) return parts_->vocabulary->Find(bytes_);
    const auto it = others_.find(text);
    return it == others_.end() ? -1 : it->second;
  }

  absl::Status ReadAddedTokens() {
    HADAL_ASSIGN_OR_RETURN(const JsonField field, root_.Get("added_tokens"));
    if (field.IsNull()) return absl::OkStatus();
    HADAL_ASSIGN_OR_RETURN(const simdjson::dom::array list, field.Array());
    std::unordered_map<std::string_view, int32_t> seen;
    size_t i = 0;
    for (const simdjson::dom::element element : list) {
      const JsonField entry = field.At(element, models::Concat("[", i++, "]"));
      AddedToken token;
      HADAL_ASSIGN_OR_RETURN(const std::string_view content, entry.StringAt("content"));
      HADAL_ASSIGN_OR_RETURN(const JsonField id_field, entry.Get("id"));
      HADAL_ASSIGN_OR_RETURN(const int64_t id, id_field.Integer());
      HADAL_ASSIGN_OR_RETURN(token.special, entry.BoolOr("special", false));
      HADAL_ASSIGN_OR_RETURN(token.normalized, entry.BoolOr("normalized", !token.special));
      HADAL_ASSIGN_OR_RETURN(token.lstrip, entry.BoolOr("lstrip", false));
      HADAL_ASSIGN_OR_RETURN(token.rstrip, entry.BoolOr("rstrip", false));
      HADAL_ASSIGN_OR_RETURN(token.single_word, entry.BoolOr("single_word", false));
      if (content.empty() || content.size() > AddedTokenMatcher::kMaxLiteralBytes) {
        return entry.Error(models::Concat("content has ", content.size(), " bytes; allowed are 1 to ",
                                          AddedTokenMatcher::kMaxLiteralBytes));
      }
      HADAL_RETURN_IF_ERROR(CheckId(entry, content, id));
      token.content = content;
      token.id = static_cast<int32_t>(id);
      if (!seen.emplace(content, token.id).second)
        return entry.Error(models::Concat("\"", content, "\" is listed twice"));
      HADAL_RETURN_IF_ERROR(Register(entry, token));
      parts_->added_tokens.push_back(std::move(token));
    }
    return absl::OkStatus();
  }

  absl::Status Register(const JsonField& entry, const AddedToken& token) {
    const int32_t known = FindWritten(token.content);
    Vocabulary& vocabulary = *parts_->vocabulary;
    if (known >= 0 && known != token.id) {
      return entry.Error(
          models::Concat("\"", token.content, "\" has the id ", token.id, " here and ", known, " in model.vocab"));
    }
    if (known < 0 && !vocabulary.Add(token.id, token.content, /*searchable=*/false)) {
      return entry.Error(models::Concat("the id ", token.id, " of \"", token.content, "\" belongs to another token"));
    }
    uint8_t flags = Vocabulary::kAdded;
    if (token.special) flags |= Vocabulary::kSpecial;
    if (token.special || IsMarkup(token.content)) flags |= Vocabulary::kControl;
    if ((flags & Vocabulary::kControl) && known >= 0 && vocabulary.Bytes(known).size() == 1) {
      return entry.Error(
          models::Concat("\"", token.content, "\" stands for a single byte and cannot be told from ordinary text"));
    }
    vocabulary.SetFlags(token.id, flags);
    return absl::OkStatus();
  }

  // Letters, digits and spaces, or a single character of any kind, are what people write; anything longer with a sign
  // in it is markup.
  static bool IsMarkup(std::string_view text) {
    size_t characters = 0;
    bool has_sign = false;
    for (size_t i = 0; i < text.size(); ++characters) {
      int length = 0;
      const uint8_t bits = unicode::CharTable::Get()[base::DecodeUtf8(text.data() + i, &length)];
      if (!(bits & (unicode::kLetter | unicode::kMark | unicode::kNumber | unicode::kSpace))) has_sign = true;
      i += static_cast<size_t>(length);
    }
    return has_sign && characters > 1;
  }

  absl::Status ReadBpe(const JsonField& model) {
    Bpe::Options options;
    HADAL_ASSIGN_OR_RETURN(options.ignore_merges, model.BoolOr("ignore_merges", false));
    HADAL_ASSIGN_OR_RETURN(options.fuse_unk, model.BoolOr("fuse_unk", false));
    HADAL_ASSIGN_OR_RETURN(const JsonField unk, model.Get("unk_token"));
    if (!unk.IsNull()) {
      HADAL_ASSIGN_OR_RETURN(const std::string_view text, unk.String());
      options.unk_id = FindWritten(text);
      for (const AddedToken& token : parts_->added_tokens) {
        if (token.content == text) options.unk_id = token.id;
      }
      if (options.unk_id < 0) return unk.Error(models::Concat("\"", text, "\" is not in the vocabulary"));
    }
    options.characters = parts_->characters;
    parts_->bpe = std::make_unique<Bpe>(parts_->vocabulary.get(), options);
    HADAL_RETURN_IF_ERROR(ReadMerges(model));
    parts_->bpe->Finish();
    HADAL_ASSIGN_OR_RETURN(const bool byte_fallback, model.BoolOr("byte_fallback", false));
    if (!byte_fallback) return absl::OkStatus();
    if (parts_->characters) parts_->bpe->SetByteIds(byte_ids_);
    return HasAllBytes() ? absl::OkStatus() : model.Error("byte_fallback is true and the vocabulary lacks bytes");
  }

  bool HasAllBytes() const {
    for (int b = 0; b < 256; ++b) {
      if (parts_->bpe->ByteId(static_cast<unsigned char>(b)) < 0) return false;
    }
    return true;
  }

  absl::Status ReadMerges(const JsonField& model) {
    HADAL_ASSIGN_OR_RETURN(const JsonField field, model.Get("merges"));
    HADAL_ASSIGN_OR_RETURN(const simdjson::dom::array list, field.Array());
    size_t count = 0;  // size() of a simdjson array saturates, so count
    for ([[maybe_unused]] const simdjson::dom::element element : list) ++count;
    parts_->bpe->ReserveMerges(count);
    size_t i = 0;
    for (const simdjson::dom::element element : list) {
      std::string_view parts[2];
      if (!SplitMerge(element, parts)) {
        return field.At(element, models::Concat("[", i, "]")).Expected("\"LEFT RIGHT\" or [\"LEFT\", \"RIGHT\"]");
      }
      int32_t ids[2];
      for (int side = 0; side < 2; ++side) {
        ids[side] = FindWritten(parts[side]);
        if (ids[side] < 0) return MergeError(field, i, models::Concat("\"", parts[side], "\" is not in model.vocab"));
      }
      joined_.assign(parts[0]);
      joined_.append(parts[1]);
      const int32_t merged = FindWritten(joined_);
      if (merged < 0) return MergeError(field, i, models::Concat("the result \"", joined_, "\" is not in model.vocab"));
      if (!parts_->bpe->AddMerge(ids[0], ids[1], merged)) {
        return MergeError(field, i, models::Concat("\"", parts[0], "\" and \"", parts[1], "\" are merged twice"));
      }
      ++i;
    }
    return absl::OkStatus();
  }

  static absl::Status MergeError(const JsonField& field, size_t i, std::string_view what) {
    return absl::InvalidArgumentError(models::Concat(field.path(), "[", i, "]: ", what));
  }

  static bool SplitMerge(const simdjson::dom::element& element, std::string_view parts[2]) {
    std::string_view text;
    if (element.get_string().get(text) == simdjson::SUCCESS) {
      const size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) return false;
      parts[0] = text.substr(0, space);
      parts[1] = text.substr(space + 1);
      return true;
    }
    simdjson::dom::array pair;
    if (element.get_array().get(pair) != simdjson::SUCCESS) return false;
    int count = 0;
    for (const simdjson::dom::element part : pair) {
      if (count == 2 || part.get_string().get(parts[count]) != simdjson::SUCCESS) return false;
      ++count;
    }
    return count == 2;
  }

  const JsonField& root_;
  TokenizerParts* parts_;
  OtherTokens others_;
  int64_t id_limit_ = 0;
  int32_t byte_ids_[256];  // of the tokens <0x00> to <0xFF>, -1 without one
  std::string bytes_;
  std::string joined_;
};

}  // namespace

absl::Status ReadModel(const JsonField& root, TokenizerParts* parts) { return ModelReader(root, parts).Read(); }

}  // namespace hadal::tokenizer
