// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hadal::base {

// JSON sets no limit to numbers, parsers do. The same text with every number that 64 bits cannot hold as a double
// instead: 1000000000000000019884624838656 becomes that number with ".0", what lies beyond doubles the largest round
// one, 1e308. So such a number does no harm in a field that nobody reads, and is out of range in one that is read.
// Texts that are no JSON come back as broken as they were. Linear in the text.
std::string WidenJsonNumbers(std::string_view json);

}  // namespace hadal::base
