// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/normalizer.h"

#include "absl/strings/str_replace.h"
#include "models/tokenizer/unicode/nfc.h"

namespace hadal::tokenizer {

size_t Normalizer::MaxShrinking() const {
  size_t shrinking = 1;
  for (const Step& step : steps_) {
    // U+1FBE U+0308 U+0341, 7 bytes, becomes U+0390 of 2; no other character is shortened more.
    if (step.kind == Kind::kNfc) shrinking *= 4;
    if (step.kind != Kind::kReplace || step.first.size() <= step.second.size()) continue;
    if (step.second.empty()) return 0;
    shrinking *= (step.first.size() + step.second.size() - 1) / step.second.size();
  }
  return shrinking;
}

std::string Normalizer::Apply(std::string_view text) const {
  std::string current(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kNfc:
        current = unicode::ToNfc(current);
        break;
      case Kind::kPrepend:
        if (!current.empty()) current.insert(0, step.first);
        break;
      case Kind::kReplace:
        current = absl::StrReplaceAll(current, {{step.first, step.second}});
        break;
    }
  }
  return current;
}

}  // namespace hadal::tokenizer
