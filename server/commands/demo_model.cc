// SPDX-License-Identifier: Apache-2.0
#include "server/commands/demo_model.h"

#include <cstdlib>
#include <filesystem>

namespace hadal::commands {

std::string DemoModelDir() {
  namespace fs = std::filesystem;
  if (const char* named = std::getenv("HADAL_DEMO_MODEL"); named != nullptr && *named != '\0') return named;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  // build/PRESET/hadal, bin/hadal of the installed tree (scripts/lib/install_tree.sh)
  for (const char* relative : {"../../models/demo", "../models/demo"}) {
    const fs::path candidate = (program.parent_path() / relative).lexically_normal();
    if (fs::exists(candidate / "config.json", error)) return candidate.string();
  }
  return "models/demo";
}

}  // namespace hadal::commands
