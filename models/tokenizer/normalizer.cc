// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/normalizer.h"

#include "absl/strings/str_replace.h"
#include "models/tokenizer/unicode/nfc.h"

namespace hadal::tokenizer {

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
