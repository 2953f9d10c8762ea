// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/progress.h"

namespace hadal::checkpoint {

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

}  // namespace hadal::checkpoint
