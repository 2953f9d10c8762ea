// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::chat {

// Whether the vocabulary has the fill-in-the-middle tokens.
bool SupportsFim(const tokenizer::Tokenizer& tokenizer);

// bos (when the tokenizer has one), <｜fim▁begin｜>, prefix, <｜fim▁hole｜>, suffix, <｜fim▁end｜>. Prefix and suffix
// are user text: they never become control tokens. An empty suffix is allowed. InvalidArgument when the vocabulary
// lacks the tokens; OutOfRange for more than `max_tokens`.
absl::StatusOr<std::vector<int32_t>> EncodeFim(const tokenizer::Tokenizer& tokenizer, std::string_view prefix,
                                               std::string_view suffix,
                                               size_t max_tokens = tokenizer::EncodeOptions::kAnyNumber);

}  // namespace hadal::chat
