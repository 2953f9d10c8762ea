// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace hadal::base {

// Ends the process with one line. For HADAL_CHECK only.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    message_ << file << ":" << line << ": check failed: " << condition << " ";
  }
  [[noreturn]] ~CheckFailure() {
    std::fprintf(stderr, "%s\n", message_.str().c_str());
    std::abort();
  }
  std::ostream& stream() { return message_; }

 private:
  std::ostringstream message_;
};

}  // namespace hadal::base

// Guards an invariant that no client, file or device can break; `<<` adds to the message.
#define HADAL_CHECK(condition) \
  if (condition) {             \
  } else                       \
    ::hadal::base::CheckFailure(__FILE__, __LINE__, #condition).stream()
