// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::http {

// The signature of a thinking block of Anthropic's API: a checksum of its text. It is no secret, since a client may
// write what it likes as reasoning anyway; it tells when thinking comes back other than it was sent. The same text has
// the same signature on every replica and after a restart.
class ThinkingSignature {
 public:
  // The next piece of the text.
  void Add(std::string_view text);
  std::string Text() const;

 private:
  uint64_t hash_ = 14695981039346656037u;  // FNV-1a
};

// False when `signature` is one of hadal's and belongs to another text. Signatures of other servers say nothing here.
bool SignatureFits(std::string_view signature, std::string_view thinking);

}  // namespace hadal::http
