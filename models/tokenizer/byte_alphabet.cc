// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace hadal::tokenizer {
namespace {

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int16_t, 0x144> bytes;  // by code point; -1: not in the alphabet

  Alphabet() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const char32_t c = printable ? static_cast<char32_t>(b) : next++;
      base::AppendUtf8(c, &characters[static_cast<size_t>(b)]);
      bytes[c] = static_cast<int16_t>(b);
    }
  }
};

const Alphabet& Get() {
  static const Alphabet* const alphabet = new Alphabet();
  return *alphabet;
}

}  // namespace

bool AlphabetToBytes(std::string_view text, std::string* bytes) {
  const Alphabet& alphabet = Get();
  bytes->clear();
  for (size_t i = 0; i < text.size();) {
    int length = 0;
    const char32_t c = base::DecodeUtf8(text.data() + i, &length);
    if (c >= alphabet.bytes.size() || alphabet.bytes[c] < 0) return false;
    bytes->push_back(static_cast<char>(alphabet.bytes[c]));
    i += static_cast<size_t>(length);
  }
  return true;
}

std::string_view ByteToAlphabet(unsigned char byte) { return Get().characters[byte]; }

}  // namespace hadal::tokenizer
