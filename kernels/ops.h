// SPDX-License-Identifier: Apache-2.0
//
// The list of ops. A row `Gemm` stands for GemmParams and CheckGemm of kernels/ops/gemm.h, and everything that exists
// once per op is made from the rows: Backend::Gemm (check, then run), its virtual DoGemm, and the declarations and
// calls of each backend's implementation. A new op adds a row here and, for a new file, an include.
//
// A fused op is a sequence of ops in one call, or of copies and work of the host. A backend that has one kernel for it
// overrides Do<Op>; everywhere else its parts run one after another (kernels/backend.cc), so only its contract is
// written again.
#pragma once

#include "kernels/ops/cast.h"
#include "kernels/ops/compress_pool.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/feed_tokens.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/gemm_silu_mul.h"
#include "kernels/ops/grouped_gemm.h"
#include "kernels/ops/hybrid_attention.h"
#include "kernels/ops/hyper_connection.h"
#include "kernels/ops/index_top_k.h"
#include "kernels/ops/kv_append.h"
#include "kernels/ops/layer_norm.h"
#include "kernels/ops/mla_attention.h"
#include "kernels/ops/mla_prefill.h"
#include "kernels/ops/moe_gate.h"
#include "kernels/ops/moe_permute.h"
#include "kernels/ops/moe_route.h"
#include "kernels/ops/paged_attention.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope.h"
#include "kernels/ops/rope_kv_append.h"
#include "kernels/ops/sample.h"
#include "kernels/ops/silu_mul.h"

// Expands ROW(Name) once for each op. Users define ROW right before and undefine it right after.
#define HADAL_FOR_EACH_OP(ROW) \
  ROW(Embedding)               \
  ROW(RmsNorm)                 \
  ROW(LayerNorm)               \
  ROW(Gemm)                    \
  ROW(BatchedGemm)             \
  ROW(GroupedGemm)             \
  ROW(Rope)                    \
  ROW(KvAppend)                \
  ROW(SiluMul)                 \
  ROW(Cast)                    \
  ROW(PagedAttention)          \
  ROW(MlaAttention)            \
  ROW(MlaGather)               \
  ROW(MlaPrefill)              \
  ROW(IndexTopK)               \
  ROW(HybridAttention)         \
  ROW(CompressPool)            \
  ROW(HyperCollapse)           \
  ROW(HyperExpand)             \
  ROW(MoeRoute)                \
  ROW(MoePermute)              \
  ROW(MoeUnpermute)            \
  ROW(Sample)

#define HADAL_FOR_EACH_FUSED_OP(ROW) \
  ROW(RopeKvAppend)                  \
  ROW(GemmSiluMul)                   \
  ROW(GroupedGemmSiluMul)            \
  ROW(MoeGate)                       \
  ROW(FeedTokens)
