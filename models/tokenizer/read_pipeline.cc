// SPDX-License-Identifier: Apache-2.0
// The normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json.
#include <string>
#include <utility>

#include "models/concat.h"
#include "models/status_macros.h"
#include "models/tokenizer/known_patterns.h"
#include "models/tokenizer/matcher.h"
#include "models/tokenizer/tokenizer_parts.h"

namespace hadal::tokenizer {
namespace {

constexpr int kMaxNesting = 16;
constexpr size_t kMaxPatternBytes = 16384;
constexpr size_t kMaxReplacementBytes = 64;
constexpr size_t kMaxSteps = 64;

// The members of a Sequence, stored under `key`.
template <typename Visit>
absl::Status ForEach(const JsonField& sequence, std::string_view key, Visit visit) {
  HADAL_ASSIGN_OR_RETURN(const JsonField list, sequence.Get(key));
  HADAL_ASSIGN_OR_RETURN(const simdjson::dom::array members, list.Array());
  size_t i = 0;
  for (const simdjson::dom::element element : members) {
    if (i == kMaxSteps) return list.Error(models::Concat("more than ", kMaxSteps, " members"));
    HADAL_RETURN_IF_ERROR(visit(list.At(element, models::Concat("[", i++, "]"))));
  }
  return absl::OkStatus();
}

absl::Status Unsupported(const JsonField& field, std::string_view type, std::string_view supported) {
  return field.Error(models::Concat("type \"", type, "\" is not supported (supported: ", supported, ")"));
}

// Texts of the file as they are here: see TokenizerParts::characters.
std::string Spaced(std::string_view text, const TokenizerParts& parts) {
  return parts.characters ? WithSpaces(text) : std::string(text);
}

absl::Status ReadNormalizerStep(const JsonField& field, TokenizerParts* parts, int depth) {
  Normalizer* const normalizer = &parts->normalizer;
  HADAL_ASSIGN_OR_RETURN(const std::string_view type, field.StringAt("type"));
  if (type == "Sequence") {
    if (depth == kMaxNesting) return field.Error(models::Concat("more than ", kMaxNesting, " nested sequences"));
    return ForEach(field, "normalizers",
                   [&](const JsonField& member) { return ReadNormalizerStep(member, parts, depth + 1); });
  }
  if (type == "NFC") {
    normalizer->AddNfc();
    return absl::OkStatus();
  }
  if (type == "Prepend") {
    HADAL_ASSIGN_OR_RETURN(const std::string_view text, field.StringAt("prepend"));
    if (text.size() > kMaxReplacementBytes)
      return field.Error(models::Concat("prepend is longer than ", kMaxReplacementBytes, " bytes"));
    normalizer->AddPrepend(Spaced(text, *parts));
    return absl::OkStatus();
  }
  if (type == "Replace") {
    HADAL_ASSIGN_OR_RETURN(const JsonField pattern, field.Get("pattern"));
    HADAL_ASSIGN_OR_RETURN(const std::string_view from, pattern.StringAt("String"));
    HADAL_ASSIGN_OR_RETURN(const std::string_view to, field.StringAt("content"));
    if (from.empty() || to.size() > kMaxReplacementBytes) {
      return field.Error(
          models::Concat("pattern must not be empty and content at most ", kMaxReplacementBytes, " bytes"));
    }
    if (from == " " && to == kSpaceMark) parts->marks_spaces = true;
    if (Spaced(from, *parts) != Spaced(to, *parts)) normalizer->AddReplace(Spaced(from, *parts), Spaced(to, *parts));
    return absl::OkStatus();
  }
  return Unsupported(field, type, "Sequence, NFC, Prepend, Replace");
}

absl::StatusOr<SplitBehavior> ReadBehavior(const JsonField& field) {
  HADAL_ASSIGN_OR_RETURN(const JsonField behavior, field.Get("behavior"));
  HADAL_ASSIGN_OR_RETURN(const std::string_view name, behavior.String());
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return behavior.Expected("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
}

absl::Status ReadSplit(const JsonField& field, Pretokenizer* pretokenizer) {
  HADAL_ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(field));
  HADAL_ASSIGN_OR_RETURN(const bool invert, field.BoolOr("invert", false));
  HADAL_ASSIGN_OR_RETURN(const JsonField pattern, field.Get("pattern"));
  HADAL_ASSIGN_OR_RETURN(const JsonField literal, pattern.Get("String"));
  if (!literal.IsNull()) {
    HADAL_ASSIGN_OR_RETURN(const std::string_view text, literal.String());
    pretokenizer->AddSplit(MakeLiteralMatcher(text), behavior, invert);
    return absl::OkStatus();
  }
  HADAL_ASSIGN_OR_RETURN(const JsonField regex, pattern.Get("Regex"));
  HADAL_ASSIGN_OR_RETURN(const std::string_view text, regex.String());
  if (text.size() > kMaxPatternBytes) {
    return regex.Error(models::Concat("the pattern has ", text.size(), " bytes, the limit is ", kMaxPatternBytes));
  }
  absl::StatusOr<std::unique_ptr<Matcher>> matcher = MakeRegexMatcher(text);
  if (!matcher.ok()) return regex.Error(std::string(matcher.status().message()));
  pretokenizer->AddSplit(*std::move(matcher), behavior, invert);
  return absl::OkStatus();
}

// *done is set by ByteLevel, after which nothing may come: the text is bytes from there on.
absl::Status ReadMetaspace(const JsonField& field, Pretokenizer* pretokenizer) {
  HADAL_ASSIGN_OR_RETURN(const std::string_view replacement, field.StringAt("replacement"));
  if (replacement != kSpaceMark) return field.Error("replacement must be U+2581");
  HADAL_ASSIGN_OR_RETURN(const bool prefix, field.BoolOr("add_prefix_space", true));
  HADAL_ASSIGN_OR_RETURN(const JsonField scheme, field.Get("prepend_scheme"));
  HADAL_ASSIGN_OR_RETURN(const bool split, field.BoolOr("split", true));
  std::string_view name = prefix ? "always" : "never";
  if (!scheme.IsNull()) {
    HADAL_ASSIGN_OR_RETURN(name, scheme.String());
  }
  if (name == "always" || name == "first") {
    pretokenizer->AddPrefixSpace(/*only_first=*/name == "first");
  } else if (name != "never") {
    return scheme.Expected("always, first or never");
  }
  if (split) pretokenizer->AddSplit(MakeLiteralMatcher(" "), SplitBehavior::kMergedWithNext, false);
  return absl::OkStatus();
}

// Characters: no ByteLevel, which the vocabulary could not take.
absl::Status ReadPretokenizerStep(const JsonField& field, TokenizerParts* parts, bool* done, int depth) {
  Pretokenizer* const pretokenizer = &parts->pretokenizer;
  HADAL_ASSIGN_OR_RETURN(const std::string_view type, field.StringAt("type"));
  if (*done) return field.Error(models::Concat("\"", type, "\" comes after ByteLevel, which must be the last"));
  if (type == "Sequence") {
    if (depth == kMaxNesting) return field.Error(models::Concat("more than ", kMaxNesting, " nested sequences"));
    return ForEach(field, "pretokenizers",
                   [&](const JsonField& member) { return ReadPretokenizerStep(member, parts, done, depth + 1); });
  }
  if (type == "Split") return ReadSplit(field, pretokenizer);
  if (type == "Digits") {
    HADAL_ASSIGN_OR_RETURN(const bool individual, field.BoolOr("individual_digits", false));
    pretokenizer->AddSplit(MakeNumericMatcher(), individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
                           false);
    return absl::OkStatus();
  }
  if (type == "Metaspace" && parts->characters) return ReadMetaspace(field, pretokenizer);
  if (type == "ByteLevel" && !parts->characters) {
    HADAL_ASSIGN_OR_RETURN(const bool add_prefix_space, field.BoolOr("add_prefix_space", true));
    HADAL_ASSIGN_OR_RETURN(const bool use_regex, field.BoolOr("use_regex", true));
    if (add_prefix_space) pretokenizer->AddPrefixSpace(/*only_first=*/false);
    if (use_regex) pretokenizer->AddSplit(MakeKnownPatternMatcher(kGpt2Pattern), SplitBehavior::kIsolated, false);
    *done = true;
    return absl::OkStatus();
  }
  return Unsupported(field, type,
                     parts->characters ? "Sequence, Split, Digits, Metaspace" : "Sequence, Split, Digits, ByteLevel");
}

// A TemplateProcessing: the special tokens before and after the text.
absl::Status ReadTemplate(const JsonField& field, TokenizerParts* parts) {
  HADAL_ASSIGN_OR_RETURN(const JsonField special, field.Get("special_tokens"));
  std::vector<int32_t> prefix, suffix;
  int sequences = 0;
  HADAL_RETURN_IF_ERROR(ForEach(field, "single", [&](const JsonField& piece) -> absl::Status {
    HADAL_ASSIGN_OR_RETURN(const JsonField sequence, piece.Get("Sequence"));
    if (!sequence.IsNull()) {
      HADAL_ASSIGN_OR_RETURN(const std::string_view id, sequence.StringAt("id"));
      return ++sequences == 1 && id == "A" ? absl::OkStatus()
                                           : piece.Error("the sequence A must appear exactly once, B never");
    }
    HADAL_ASSIGN_OR_RETURN(const JsonField token, piece.Get("SpecialToken"));
    HADAL_ASSIGN_OR_RETURN(const std::string_view name, token.StringAt("id"));
    HADAL_ASSIGN_OR_RETURN(const JsonField entry, special.Get(name));
    return ForEach(entry, "ids", [&](const JsonField& id_field) -> absl::Status {
      HADAL_ASSIGN_OR_RETURN(const int64_t id, id_field.Integer());
      if (id < 0 || id >= parts->vocabulary->size() || !parts->vocabulary->IsValid(static_cast<int32_t>(id))) {
        return id_field.Expected("the id of a token");
      }
      (sequences == 0 ? prefix : suffix).push_back(static_cast<int32_t>(id));
      return absl::OkStatus();
    });
  }));
  if (sequences != 1) return field.Error("single: the sequence A must appear exactly once");
  // Processors of a sequence wrap what the one before made.
  parts->prefix_ids.insert(parts->prefix_ids.begin(), prefix.begin(), prefix.end());
  parts->suffix_ids.insert(parts->suffix_ids.end(), suffix.begin(), suffix.end());
  return absl::OkStatus();
}

absl::Status ReadPostProcessorStep(const JsonField& field, TokenizerParts* parts, int depth) {
  HADAL_ASSIGN_OR_RETURN(const std::string_view type, field.StringAt("type"));
  if (type == "ByteLevel") return absl::OkStatus();  // moves offsets only
  if (type == "TemplateProcessing") return ReadTemplate(field, parts);
  if (type == "Sequence") {
    if (depth == kMaxNesting) return field.Error(models::Concat("more than ", kMaxNesting, " nested sequences"));
    return ForEach(field, "processors",
                   [&](const JsonField& member) { return ReadPostProcessorStep(member, parts, depth + 1); });
  }
  return Unsupported(field, type, "Sequence, TemplateProcessing, ByteLevel");
}

// Only what undoes the encoding may stand there.
absl::Status ReadDecoderStep(const JsonField& field, TokenizerParts* parts, bool* byte_level, int depth) {
  HADAL_ASSIGN_OR_RETURN(const std::string_view type, field.StringAt("type"));
  if (type == "ByteLevel") {
    *byte_level = true;
    return absl::OkStatus();
  }
  if (type == "Fuse" || type == "ByteFallback") return absl::OkStatus();  // tokens are joined as bytes anyway
  if (type == "Metaspace") {
    HADAL_ASSIGN_OR_RETURN(const bool prefix, field.BoolOr("add_prefix_space", true));
    HADAL_ASSIGN_OR_RETURN(const JsonField scheme, field.Get("prepend_scheme"));
    parts->characters = true;
    parts->strips_first_space = scheme.IsString() ? scheme.String().value() != "never" : prefix;
    return absl::OkStatus();
  }
  if (type == "Replace") {
    HADAL_ASSIGN_OR_RETURN(const JsonField pattern, field.Get("pattern"));
    HADAL_ASSIGN_OR_RETURN(const std::string_view from, pattern.StringAt("String"));
    HADAL_ASSIGN_OR_RETURN(const std::string_view to, field.StringAt("content"));
    if (from != kSpaceMark || to != " ") return field.Error("only U+2581 may be replaced, by a space");
    parts->characters = true;
    return absl::OkStatus();
  }
  if (type == "Strip") {
    HADAL_ASSIGN_OR_RETURN(const std::string_view content, field.StringAt("content"));
    HADAL_ASSIGN_OR_RETURN(const JsonField start, field.Get("start"));
    HADAL_ASSIGN_OR_RETURN(const JsonField stop, field.Get("stop"));
    HADAL_ASSIGN_OR_RETURN(const int64_t front, start.Integer());
    HADAL_ASSIGN_OR_RETURN(const int64_t back, stop.Integer());
    if (content != " " || front < 0 || front > 1 || back != 0)
      return field.Error("only one space in front may be stripped");
    parts->strips_first_space = front == 1;
    return absl::OkStatus();
  }
  if (type == "Sequence") {
    if (depth == kMaxNesting) return field.Error(models::Concat("more than ", kMaxNesting, " nested sequences"));
    return ForEach(field, "decoders",
                   [&](const JsonField& member) { return ReadDecoderStep(member, parts, byte_level, depth + 1); });
  }
  return Unsupported(field, type, "Sequence, ByteLevel, Fuse, ByteFallback, Metaspace, Replace, Strip");
}

}  // namespace

absl::Status ReadNormalizer(const JsonField& field, TokenizerParts* parts) {
  if (parts->characters) parts->normalizer.AddReplace(std::string(kSpaceMark), " ");
  return field.IsNull() ? absl::OkStatus() : ReadNormalizerStep(field, parts, 0);
}

absl::Status ReadPretokenizer(const JsonField& field, TokenizerParts* parts) {
  if (field.IsNull()) {
    return parts->characters ? absl::OkStatus() : field.Expected("a pre-tokenizer that ends with ByteLevel");
  }
  bool byte_level = false;
  HADAL_RETURN_IF_ERROR(ReadPretokenizerStep(field, parts, &byte_level, 0));
  return byte_level || parts->characters ? absl::OkStatus() : field.Error("has no ByteLevel, but the decoder has");
}

absl::Status ReadPostProcessor(const JsonField& field, TokenizerParts* parts) {
  return field.IsNull() ? absl::OkStatus() : ReadPostProcessorStep(field, parts, 0);
}

absl::Status ReadDecoder(const JsonField& field, TokenizerParts* parts) {
  if (field.IsNull()) return field.Expected("the decoder ByteLevel, or one that puts spaces for U+2581");
  bool byte_level = false;
  HADAL_RETURN_IF_ERROR(ReadDecoderStep(field, parts, &byte_level, 0));
  if (byte_level == parts->characters) {
    return field.Error("must have ByteLevel, or else put spaces for U+2581; other kinds of tokens are not supported");
  }
  return absl::OkStatus();
}

}  // namespace hadal::tokenizer
