// SPDX-License-Identifier: Apache-2.0
#include "models/families/qwen2/qwen2.h"

#include "models/families/gqa_decoder.h"

namespace hadal::models {

const Family& Qwen2Family() {
  static const Family family = {.name = "qwen2",
                                .tensors = checkpoint::ExpectedTensors,
                                .kv_layout = GqaDecoderKvLayout,
                                .workspace_bytes = GqaDecoderWorkspaceBytes,
                                .load = LoadGqaDecoder};
  return family;
}

}  // namespace hadal::models
