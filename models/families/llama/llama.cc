// SPDX-License-Identifier: Apache-2.0
#include "models/families/llama/llama.h"

#include "models/families/gqa_decoder.h"

namespace hadal::models {

const Family& LlamaFamily() {
  static const Family family = {.name = "llama",
                                .tensors = checkpoint::ExpectedTensors,
                                .kv_layout = GqaDecoderKvLayout,
                                .workspace_bytes = GqaDecoderWorkspaceBytes,
                                .load = LoadGqaDecoder};
  return family;
}

}  // namespace hadal::models
