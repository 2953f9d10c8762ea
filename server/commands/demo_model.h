// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace hadal::commands {

// The demo model's folder: HADAL_DEMO_MODEL, else models/demo next to the source that the program was built from, else
// models/demo of the installed tree.
std::string DemoModelDir();

}  // namespace hadal::commands
