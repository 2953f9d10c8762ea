// SPDX-License-Identifier: Apache-2.0
#include "models/families/qwen3/qwen3.h"

#include "models/families/gqa_decoder.h"

namespace hadal::models {

const Family& Qwen3Family() {
  static const Family family = {.name = "qwen3",
                                .tensors = checkpoint::ExpectedTensors,
                                .kv_layout = GqaDecoderKvLayout,
                                .workspace_bytes = GqaDecoderWorkspaceBytes,
                                .load = LoadGqaDecoder};
  return family;
}

}  // namespace hadal::models
