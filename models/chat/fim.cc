// SPDX-License-Identifier: Apache-2.0
#include "models/chat/fim.h"

#include "models/concat.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kBegin = "<｜fim▁begin｜>";
constexpr std::string_view kHole = "<｜fim▁hole｜>";
constexpr std::string_view kEnd = "<｜fim▁end｜>";

}  // namespace

bool SupportsFim(const tokenizer::Tokenizer& tokenizer) {
  return tokenizer.TokenId(kBegin) && tokenizer.TokenId(kHole) && tokenizer.TokenId(kEnd);
}

absl::StatusOr<std::vector<int32_t>> EncodeFim(const tokenizer::Tokenizer& tokenizer, std::string_view prefix,
                                               std::string_view suffix, size_t max_tokens) {
  for (const std::string_view token : {kBegin, kHole, kEnd}) {
    if (!tokenizer.TokenId(token)) {
      return absl::InvalidArgumentError(
          models::Concat("suffix: this model cannot fill in the middle, its vocabulary has no ", token));
    }
  }
  const tokenizer::TextSegment segments[] = {
      {kBegin, true}, {prefix, false}, {kHole, true}, {suffix, false}, {kEnd, true}};
  absl::StatusOr<std::vector<int32_t>> ids =
      tokenizer.EncodeSegments(segments, /*add_special_tokens=*/false, max_tokens);
  if (ids.ok() && tokenizer.bos_id()) ids->insert(ids->begin(), *tokenizer.bos_id());
  return ids;
}

}  // namespace hadal::chat
