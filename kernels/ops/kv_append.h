// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Writes the new keys and values of a step into the paged caches: row t goes to block slot / block_tokens, offset
// slot % block_tokens, with slot = slot_mapping[t]. A slot outside [0, blocks * block_tokens) is skipped (padding is
// -1); no slot appears twice. One row per token for every cache kind:
//   GQA:  two calls' worth in one, (k, k_cache) and (v, v_cache), each [tokens, kv_heads, head_dim]
//   MLA:  k = latent [tokens, 1, kv_lora] into k_cache, v = rope key [tokens, 1, rope] into v_cache, where k_cache and
//         v_cache are the two column ranges of one latent cache [blocks, block_tokens, 1, kv_lora + rope] (Slice)
// v and v_cache are both present or both absent. Source and cache types are f32, bf16 or f16; conversion rounds once.
// Strides are free except the last. Sources must not overlap the caches. Tolerance: exact.
struct KvAppendParams {
  TensorView k;             // [tokens, kv_heads, head_dim]
  TensorView v;             // optional [tokens, kv_heads, v_dim]
  TensorView k_cache;       // [blocks, block_tokens, kv_heads, head_dim], written
  TensorView v_cache;       // optional [blocks, block_tokens, kv_heads, v_dim], written
  TensorView slot_mapping;  // i64 or i32 [tokens], contiguous
};

absl::Status CheckKvAppend(const KvAppendParams& params);

}  // namespace hadal::kernels
