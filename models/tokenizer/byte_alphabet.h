// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hadal::tokenizer {

// The printable alphabet of byte-level BPE: each byte is written as one character (space as Ġ, newline as Ċ).

// Replaces *bytes by the bytes that `text` stands for. False when a character is not of the alphabet (*bytes is then
// unspecified).
bool AlphabetToBytes(std::string_view text, std::string* bytes);

// The character that stands for a byte, as UTF-8.
std::string_view ByteToAlphabet(unsigned char byte);

}  // namespace hadal::tokenizer
