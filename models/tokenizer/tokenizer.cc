// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/tokenizer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/functional/function_ref.h"
#include "base/read_file.h"
#include "base/utf8.h"
#include "models/concat.h"
#include "models/status_macros.h"
#include "models/tokenizer/tokenizer_parts.h"

namespace hadal::tokenizer {
namespace {

// Added tokens to look for. `before` are found in the text as it is, `after` in its normalised form.
struct AddedTokenSet {
  AddedTokenMatcher before;
  AddedTokenMatcher after;

  void Add(const AddedToken& token, const Normalizer& normalizer) {
    if (!token.normalized) {
      before.Add(token, token.content);
      return;
    }
    const std::string normal = normalizer.Apply(token.content);
    if (!normal.empty() && normal.size() <= AddedTokenMatcher::kMaxLiteralBytes) after.Add(token, normal);
  }
};

absl::Status TooManyTokens(size_t max_tokens) {
  return absl::OutOfRangeError(models::Concat("the text has more than ", max_tokens, " tokens"));
}

// "" for a file that is not there.
absl::StatusOr<std::string> ReadOptional(const std::string& path) {
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxTokenizerJsonBytes);
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

// `before`: bytes of the same request in front of `text`.
absl::Status CheckText(std::string_view text, size_t before) {
  if (text.size() > Tokenizer::kMaxTextBytes - std::min(before, Tokenizer::kMaxTextBytes)) {
    return absl::InvalidArgumentError(
        models::Concat("a text of ", before + text.size(), " bytes is above the limit of ", Tokenizer::kMaxTextBytes));
  }
  if (const size_t invalid = base::FindInvalidUtf8(text); invalid != std::string_view::npos) {
    return absl::InvalidArgumentError(models::Concat("text is not valid UTF-8 at byte ", before + invalid));
  }
  return absl::OkStatus();
}

}  // namespace

struct Tokenizer::Impl {
  TokenizerParts parts;
  TokenizerConfig config;
  AddedTokenSet all_added;
  AddedTokenSet plain_added;  // those that are ordinary text (see IsControl)
  std::map<std::string, int32_t, std::less<>> added_ids;
  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  std::vector<int32_t> eos_ids;
  size_t max_bytes_per_token = 0;

  // State of one Encode call.
  struct Run {
    bool allow_control;
    size_t max_tokens;
    absl::Status status;
    std::vector<int32_t> ids;
    PretokenizeScratch pretokenize;
    Bpe::Scratch bpe;
  };

  absl::Status Finish();
  size_t MaxBytesPerToken() const;
  void EncodePieces(std::string_view normal, Run* run) const;
  void EncodeNormalised(std::string_view text, const AddedTokenMatcher& added, Run* run) const;
  void EncodeText(std::string_view text, const AddedTokenSet& added, Run* run) const;
  absl::StatusOr<std::vector<int32_t>> Wrap(Run run, bool add_special_tokens) const;
};

absl::Status Tokenizer::Impl::Finish() {
  const Vocabulary& vocabulary = *parts.vocabulary;
  if (parts.marks_spaces) {
    all_added.after.KeepBlanks();
    plain_added.after.KeepBlanks();
  }
  for (const AddedToken& token : parts.added_tokens) {
    all_added.Add(token, parts.normalizer);
    if (!vocabulary.HasFlag(token.id, Vocabulary::kControl)) plain_added.Add(token, parts.normalizer);
    added_ids.emplace(token.content, token.id);
  }
  const auto named = [&](const std::string& name) -> std::optional<int32_t> {
    if (name.empty()) return std::nullopt;
    if (const auto it = added_ids.find(name); it != added_ids.end()) return it->second;
    const int32_t id = vocabulary.Find(name);
    return id >= 0 ? std::optional<int32_t>(id) : std::nullopt;
  };
  bos_id = named(config.bos_token);
  eos_id = named(config.eos_token);
  if (!bos_id &&
      vocabulary.IsValid(static_cast<int32_t>(std::clamp<int64_t>(config.generation_bos_id, -1, INT32_MAX)))) {
    bos_id = static_cast<int32_t>(config.generation_bos_id);
    if (config.bos_token.empty()) config.bos_token = std::string(vocabulary.Bytes(*bos_id));
  }
  for (const int64_t id : config.generation_eos_ids) {
    if (id < 0 || id > INT32_MAX)
      return absl::InvalidArgumentError(models::Concat("generation_config.json: eos_token_id ", id, " is no token id"));
    if (!eos_id && vocabulary.IsValid(static_cast<int32_t>(id))) {
      eos_id = static_cast<int32_t>(id);
      if (config.eos_token.empty()) config.eos_token = std::string(vocabulary.Bytes(*eos_id));
    }
    eos_ids.push_back(static_cast<int32_t>(id));
  }
  if (eos_id) eos_ids.push_back(*eos_id);
  std::sort(eos_ids.begin(), eos_ids.end());
  eos_ids.erase(std::unique(eos_ids.begin(), eos_ids.end()), eos_ids.end());

  // The Llama classes of transformers take bos and eos from tokenizer_config.json and override tokenizer.json.
  const bool llama_class = config.tokenizer_class.starts_with("Llama");
  if (bos_id && config.add_bos_token && parts.prefix_ids.empty()) parts.prefix_ids = {*bos_id};
  if (bos_id && llama_class && config.add_bos_token_given && !config.add_bos_token)
    std::erase(parts.prefix_ids, *bos_id);
  if (eos_id && config.add_eos_token && parts.suffix_ids.empty()) parts.suffix_ids = {*eos_id};
  max_bytes_per_token = MaxBytesPerToken();
  return absl::OkStatus();
}

size_t Tokenizer::Impl::MaxBytesPerToken() const {
  const size_t shrinking = parts.normalizer.MaxShrinking();
  bool keeps_all = shrinking > 0 && !parts.pretokenizer.RemovesText();
  for (int byte = 0; byte < 256; ++byte) keeps_all = keeps_all && parts.bpe->ByteId(static_cast<uint8_t>(byte)) >= 0;
  // Such tokens swallow the spaces beside them.
  for (const AddedToken& token : parts.added_tokens) keeps_all = keeps_all && !token.lstrip && !token.rstrip;
  if (!keeps_all) return 0;
  size_t longest = 1;
  for (int32_t id = 0; id < parts.vocabulary->size(); ++id) {
    longest = std::max(longest, parts.vocabulary->Bytes(id).size());
  }
  return longest * shrinking;
}

void Tokenizer::Impl::EncodePieces(std::string_view normal, Run* run) const {
  if (!run->status.ok()) return;
  std::string_view text;
  run->status = parts.pretokenizer.Run(normal, /*first=*/run->ids.empty(), &run->pretokenize, &text);
  if (!run->status.ok()) return;
  for (const Match& piece : run->pretokenize.pieces) {
    if (run->ids.size() > run->max_tokens) {
      run->status = TooManyTokens(run->max_tokens);
      return;
    }
    parts.bpe->Encode(text.substr(piece.begin, piece.end - piece.begin), run->allow_control, &run->bpe, &run->ids);
  }
}

void Tokenizer::Impl::EncodeNormalised(std::string_view text, const AddedTokenMatcher& added, Run* run) const {
  std::string buffer;
  if (!parts.normalizer.IsIdentity()) {
    buffer = parts.normalizer.Apply(text);
    text = buffer;
  }
  if (added.empty()) {
    EncodePieces(text, run);
    return;
  }
  added.Split(
      text, [&](std::string_view part) { EncodePieces(part, run); }, [&](int32_t id) { run->ids.push_back(id); });
}

void Tokenizer::Impl::EncodeText(std::string_view text, const AddedTokenSet& added, Run* run) const {
  if (text.empty()) return;
  if (added.before.empty()) {
    EncodeNormalised(text, added.after, run);
    return;
  }
  added.before.Split(
      text, [&](std::string_view part) { EncodeNormalised(part, added.after, run); },
      [&](int32_t id) { run->ids.push_back(id); });
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Impl::Wrap(Run run, bool add_special_tokens) const {
  if (!run.status.ok()) return run.status;
  if (run.ids.size() > run.max_tokens) return TooManyTokens(run.max_tokens);
  if (add_special_tokens) {
    run.ids.insert(run.ids.begin(), parts.prefix_ids.begin(), parts.prefix_ids.end());
    run.ids.insert(run.ids.end(), parts.suffix_ids.begin(), parts.suffix_ids.end());
  }
  return std::move(run.ids);
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const std::string& dir) {
  HADAL_ASSIGN_OR_RETURN(const std::string tokenizer, base::ReadFile(dir + "/tokenizer.json", kMaxTokenizerJsonBytes));
  HADAL_ASSIGN_OR_RETURN(const std::string config, ReadOptional(dir + "/tokenizer_config.json"));
  HADAL_ASSIGN_OR_RETURN(const std::string generation, ReadOptional(dir + "/generation_config.json"));
  // Newer checkpoints keep the template in a file of its own.
  TemplateFiles templates;
  HADAL_ASSIGN_OR_RETURN(templates.jinja, ReadOptional(dir + "/chat_template.jinja"));
  HADAL_ASSIGN_OR_RETURN(templates.json, ReadOptional(dir + "/chat_template.json"));
  HADAL_ASSIGN_OR_RETURN(templates.tool_use, ReadOptional(dir + "/additional_chat_templates/tool_use.jinja"));
  absl::StatusOr<std::shared_ptr<const Tokenizer>> loaded = Build(tokenizer, config, generation, templates);
  if (!loaded.ok())
    return absl::Status(loaded.status().code(), models::Concat(dir, "/", std::string(loaded.status().message())));
  return loaded;
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json,
                                                                     std::string_view tokenizer_config_json,
                                                                     std::string_view generation_config_json) {
  return Build(tokenizer_json, tokenizer_config_json, generation_config_json, {});
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Build(std::string_view tokenizer_json,
                                                                  std::string_view tokenizer_config_json,
                                                                  std::string_view generation_config_json,
                                                                  const TemplateFiles& templates) {
  auto impl = std::make_unique<Impl>();
  HADAL_ASSIGN_OR_RETURN(impl->parts, ParseTokenizerJson(tokenizer_json));
  HADAL_RETURN_IF_ERROR(ParseTokenizerConfig(tokenizer_config_json, &impl->config));
  HADAL_RETURN_IF_ERROR(ParseGenerationConfig(generation_config_json, &impl->config));
  HADAL_RETURN_IF_ERROR(ParseChatTemplateJson(templates.json, &impl->config));
  if (!templates.jinja.empty()) {
    impl->config.chat_template = templates.jinja;
    impl->config.chat_template_file = "chat_template.jinja";
  }
  if (!templates.tool_use.empty()) impl->config.tool_chat_template = templates.tool_use;
  HADAL_RETURN_IF_ERROR(impl->Finish());
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, EncodeOptions options) const {
  HADAL_RETURN_IF_ERROR(CheckText(text, 0));
  Impl::Run run{.allow_control = options.allow_added_tokens, .max_tokens = options.max_tokens};
  impl_->EncodeText(text, options.allow_added_tokens ? impl_->all_added : impl_->plain_added, &run);
  return impl_->Wrap(std::move(run), options.add_special_tokens);
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeSegments(absl::Span<const TextSegment> segments,
                                                               bool add_special_tokens, size_t max_tokens) const {
  size_t total = 0;
  for (const TextSegment& segment : segments) {
    HADAL_RETURN_IF_ERROR(CheckText(segment.text, total));
    total += segment.text.size();
  }
  Impl::Run run{.allow_control = false, .max_tokens = max_tokens};
  // Ordinary text waits here until a control token or the end, so that segments join.
  std::string waiting;
  const auto append = [&](std::string_view text) { waiting.append(text); };
  const auto token = [&](int32_t id) {
    impl_->EncodeText(waiting, impl_->plain_added, &run);
    waiting.clear();
    run.ids.push_back(id);
  };
  for (const TextSegment& segment : segments) {
    if (!segment.control) {
      append(segment.text);
      continue;
    }
    impl_->all_added.before.Split(
        segment.text, [&](std::string_view part) { impl_->all_added.after.Split(part, append, token); }, token);
  }
  impl_->EncodeText(waiting, impl_->plain_added, &run);
  return impl_->Wrap(std::move(run), add_special_tokens);
}

std::string Tokenizer::Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!skip_special_tokens || !IsSpecial(id)) bytes.append(TokenBytes(id));
  }
  if (impl_->parts.strips_first_space && bytes.starts_with(' ')) bytes.erase(0, 1);
  std::string text;
  text.reserve(bytes.size());
  base::AppendReplacingInvalid(bytes, /*last=*/true, &text);
  return text;
}

std::string_view Tokenizer::TokenBytes(int32_t id) const { return impl_->parts.vocabulary->Bytes(id); }
bool Tokenizer::IsSpecial(int32_t id) const { return impl_->parts.vocabulary->HasFlag(id, Vocabulary::kSpecial); }
bool Tokenizer::IsAdded(int32_t id) const { return impl_->parts.vocabulary->HasFlag(id, Vocabulary::kAdded); }
bool Tokenizer::IsControl(int32_t id) const { return impl_->parts.vocabulary->HasFlag(id, Vocabulary::kControl); }
bool Tokenizer::IsValid(int32_t id) const { return impl_->parts.vocabulary->IsValid(id); }

std::optional<int32_t> Tokenizer::TokenId(std::string_view content) const {
  if (const auto it = impl_->added_ids.find(content); it != impl_->added_ids.end()) return it->second;
  const int32_t id = impl_->parts.vocabulary->Find(content);
  return id >= 0 ? std::optional<int32_t>(id) : std::nullopt;
}

int32_t Tokenizer::vocab_size() const { return impl_->parts.vocabulary->size(); }
std::optional<int32_t> Tokenizer::bos_id() const { return impl_->bos_id; }
std::optional<int32_t> Tokenizer::eos_id() const { return impl_->eos_id; }
const std::vector<int32_t>& Tokenizer::eos_ids() const { return impl_->eos_ids; }
const std::string& Tokenizer::bos_token() const { return impl_->config.bos_token; }
const std::string& Tokenizer::eos_token() const { return impl_->config.eos_token; }
const std::string& Tokenizer::chat_template() const { return impl_->config.chat_template; }
size_t Tokenizer::max_bytes_per_token() const { return impl_->max_bytes_per_token; }
const std::string& Tokenizer::chat_template_file() const { return impl_->config.chat_template_file; }
const std::string& Tokenizer::tool_chat_template() const { return impl_->config.tool_chat_template; }
const std::vector<std::pair<std::string, std::string>>& Tokenizer::special_tokens() const {
  return impl_->config.special_tokens;
}
int64_t Tokenizer::model_max_length() const { return impl_->config.model_max_length; }

}  // namespace hadal::tokenizer
