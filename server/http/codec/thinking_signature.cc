// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/thinking_signature.h"

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::http {
namespace {

// What a signature of hadal begins with; the number is that of the checksum's form.
constexpr std::string_view kMark = "hadal1-";

}  // namespace

void ThinkingSignature::Add(std::string_view text) {
  for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
}

std::string ThinkingSignature::Text() const {
  return absl::StrCat(base::View(kMark), absl::Hex(hash_, absl::kZeroPad16));
}

bool SignatureFits(std::string_view signature, std::string_view thinking) {
  if (signature.substr(0, kMark.size()) != kMark) return true;
  ThinkingSignature own;
  own.Add(thinking);
  return signature == own.Text();
}

}  // namespace hadal::http
