// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/detokenizer.h"

#include "base/utf8.h"

namespace hadal::tokenizer {

std::string Detokenizer::Append(int32_t id) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return {};
  tail_.append(tokenizer_->TokenBytes(id));
  std::string text;
  tail_.erase(0, base::AppendReplacingInvalid(tail_, /*last=*/false, &text));
  return text;
}

std::string Detokenizer::Flush() {
  std::string text;
  base::AppendReplacingInvalid(tail_, /*last=*/true, &text);
  tail_.clear();
  return text;
}

}  // namespace hadal::tokenizer
