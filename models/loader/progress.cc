// SPDX-License-Identifier: Apache-2.0
#include "models/loader/progress.h"

namespace hadal::loader {

const char* LoadStageName(LoadStage stage) {
  switch (stage) {
    case LoadStage::kOpen:
      return "open";
    case LoadStage::kValidate:
      return "validate";
    case LoadStage::kLoad:
      return "load";
  }
  return "unknown";
}

}  // namespace hadal::loader
