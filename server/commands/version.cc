// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "server/commands/commands.h"

namespace hadal::commands {

int Version() {
  std::printf("hadal %s (built with GCC %s)\n", kVersion, __VERSION__);
  return 0;
}

}  // namespace hadal::commands
