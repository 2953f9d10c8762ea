// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_moe/deepseek_moe.h"

#include "models/families/gqa_decoder.h"

namespace hadal::models {

const Family& DeepseekMoeFamily() {
  static const Family family = {.name = "deepseek_moe",
                                .tensors = checkpoint::ExpectedTensors,
                                .kv_layout = GqaDecoderKvLayout,
                                .workspace_bytes = GqaDecoderWorkspaceBytes,
                                .load = LoadGqaDecoder};
  return family;
}

}  // namespace hadal::models
