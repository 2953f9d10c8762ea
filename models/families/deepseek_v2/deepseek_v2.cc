// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v2/deepseek_v2.h"

#include "models/families/mla_decoder.h"

namespace hadal::models {

const Family& DeepseekV2Family() {
  static const Family family = {.name = "deepseek_v2",
                                .tensors = checkpoint::ExpectedTensors,
                                .kv_layout = MlaDecoderKvLayout,
                                .workspace_bytes = MlaDecoderWorkspaceBytes,
                                .load = LoadMlaDecoder};
  return family;
}

}  // namespace hadal::models
