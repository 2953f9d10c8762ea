// SPDX-License-Identifier: Apache-2.0
//
// The kernels' launchers, in plain C++: host code is compiled by the host compiler and knows the device only by this
// header. Every launcher queues work on `stream` and returns a cudaError_t as an int (0: queued). Parameters have
// passed the Check function of the op; launchers do nothing for empty inputs.
#pragma once

#include <cstdint>

#include "kernels/cuda/view.h"
#include "kernels/ops/moe_scoring.h"

namespace hadal::kernels::cuda {

using Stream = void*;  // a cudaStream_t

inline constexpr int kThreads = 256;
inline constexpr int64_t kMaxGridBlocks = 2147483647;  // grid dimension x of every device since 2012
inline constexpr int64_t kMaxGridRows = 65535;         // grid dimension y
inline constexpr int64_t kMaxGridStrideBlocks = 4096;
inline constexpr int64_t kDefaultSharedBytes = 48 * 1024;  // more needs cudaFuncSetAttribute

// 0 if this build holds code for the current device.
int FindKernelImage();

// ---- Elementwise (elementwise.cu) ----
int LaunchFeedTokens(Stream stream, int32_t* ids, int64_t tokens, const int32_t* sampled, int64_t rows);
int LaunchEmbedding(Stream stream, const int32_t* ids, int64_t tokens, View table, View out);
int LaunchCast(Stream stream, View in, View out);  // right-aligned views
int LaunchSiluMul(Stream stream, View gate, View up, View out, float limit);
int LaunchRope(Stream stream, View x, const int32_t* positions, View cos, const float* sin, bool interleaved,
               bool inverse);
// One of k and v. slots: i32 or i64.
int LaunchKvAppend(Stream stream, View rows, View cache, View slots);

// ---- Rotation and cache writes as one (rope_kv_append.cu) ----
// Heads that are prepared in place: `width` columns of rows [tokens, heads, width].
struct RopeHeads {
  View rows;
  int32_t width = 0, rope_begin = 0;
  int32_t norm_begin = 0, norm_width = 0;  // 0: no norm
  View weight;
  bool has_weight = false, float32_product = false;
  float eps = 0;
};
struct RopeKvAppendLaunch {
  RopeHeads q, k;  // q may have no heads
  View v, k_cache, v_cache;
  bool has_v = false;
  View slots;  // i32 or i64
  const int32_t* positions = nullptr;
  View cos;
  const float* sin = nullptr;
  bool interleaved = false;
};
int64_t RopeKvAppendSharedBytes(const RopeKvAppendLaunch& launch);
int LaunchRopeKvAppend(Stream stream, const RopeKvAppendLaunch& launch);

// ---- Norms (rms_norm.cu, layer_norm.cu) ----
struct RmsNormLaunch {
  View x, residual, weight, out;  // x, residual, out: [rows, heads, dim]
  bool has_residual = false, has_out = false, has_weight = false, float32_product = false;
  float eps = 0;
};
int LaunchRmsNorm(Stream stream, const RmsNormLaunch& launch);
int LaunchLayerNorm(Stream stream, View x, View weight, View bias, View out, float eps);

// ---- Products without cuBLAS (generic_gemm.cu) ----
// out[b, i, j] = sum over l of x[b, i, l] * w[b, j, l] (or w[b, l, j]), any types, any strides, float32 sums.
struct GenericGemmLaunch {
  View x, w, bias, out;  // data and dtype; strides below
  bool has_bias = false, accumulate = false, transposed_w = false;
  int64_t batch = 1, m = 0, n = 0, k = 0;
  int64_t x_batch = 0, x_row = 0, w_batch = 0, w_row = 0, out_batch = 0, out_row = 0;
  // Grouped: rows [expert_start[e], expert_start[e + 1]) use the matrix at weights[e]; m is the number of rows.
  const int32_t* expert_start = nullptr;
  const int64_t* weights = nullptr;
  int64_t experts = 0;
};
int64_t GenericGemmBlocks(const GenericGemmLaunch& launch);
int LaunchGenericGemm(Stream stream, const GenericGemmLaunch& launch);

// The same with few rows; rows of w, and of x unless transposed_w, begin at multiples of sixteen bytes (gemv.cu,
// gemv_transposed.cu).
inline constexpr int32_t kMaxGemvSlices = 8;
struct GemvPlan {      // made by gemv_plan.h
  int32_t rows = 1;    // 1, 2, 4 or 8: computed by a block at once; not grouped, at least m
  int32_t slices = 1;  // of k, a power of two up to kMaxGemvSlices
};
int LaunchGemv(Stream stream, const GenericGemmLaunch& launch, const GemvPlan& plan);  // without transposed_w
// With transposed_w; no experts, no bias, not accumulating.
int LaunchGemvTransposed(Stream stream, const GenericGemmLaunch& launch, const GemvPlan& plan);
// One product, or one of each expert, whose first n / 2 columns are gates; `activated` [rows, n / 2] is silu(gate) *
// up.
int LaunchGemvSilu(Stream stream, const GenericGemmLaunch& launch, const GemvPlan& plan, View activated, float limit);

// ---- Attention without FlashInfer (attention.cu) ----
// One block for each query row and head. Keys have two parts (the second may be empty), so that one kernel serves GQA
// and both forms of MLA. Element (token, head, d) of part X of sequence s, position p:
//   paged (table): X + table[s][p / block_tokens] * X_block + (p % block_tokens) * X_token + (head / group) * X_head +
//   d dense:         X + (kv_start[s] + p) * X_token + (head / group) * X_head + d
struct AttentionLaunch {
  View q_a, q_b, out;  // [tokens, heads, dim]
  const void *key_a = nullptr, *key_b = nullptr, *value = nullptr;
  DType kv_dtype = DType::kF32;
  int64_t a_block = 0, a_token = 0, a_head = 0;
  int64_t b_block = 0, b_token = 0, b_head = 0;
  int64_t v_block = 0, v_token = 0, v_head = 0;
  int64_t a_dim = 0, b_dim = 0, v_dim = 0;
  int64_t tokens = 0, heads = 0, group = 1, sequences = 0;
  const int32_t* query_start = nullptr;
  const int32_t* context_lens = nullptr;
  const int32_t* table = nullptr;
  int64_t table_stride = 0, block_tokens = 0;
  const int32_t* kv_start = nullptr;
  const int32_t* selected = nullptr;  // row t attends to the positions selected[t * selected_stride + 0..], up to a -1
  int64_t selected_stride = 0, selected_columns = 0;
  float scale = 1;
  int64_t first_row = 0;  // of q and out: rows [first_row, first_row + tokens) are computed
};
int64_t AttentionSharedBytes(int64_t key_dim, int64_t value_dim);
int LaunchAttention(Stream stream, const AttentionLaunch& launch);
int LaunchMlaGather(Stream stream, View cache, View latent, const int32_t* kv_start, int64_t sequences,
                    const int32_t* table, int64_t table_stride);

// keys[t, h] = nope[t, h] and then rope[t], contiguous: [tokens, heads, a] and [tokens, b] of one type of two bytes,
// rows and widths multiples of 16 bytes (join_keys.cu).
int LaunchJoinKeys(Stream stream, View nope, View rope, void* keys);

// ---- Choice of keys for sparse attention (index_top_k.cu) ----
struct IndexTopKLaunch {
  View q, weights, keys;
  int32_t* selected = nullptr;  // [tokens, top_k]
  int64_t selected_stride = 0, top_k = 0;
  const int32_t* query_start = nullptr;
  const int32_t* context_lens = nullptr;
  int64_t sequences = 0;
  const int32_t* table = nullptr;
  int64_t table_stride = 0, tokens_per_entry = 1;
  float* scores = nullptr;               // [row_count, score_columns]
  int64_t score_columns = 0;             // entries that the query which sees most sees
  int64_t first_row = 0, row_count = 0;  // rows of this launch
};
int LaunchIndexTopK(Stream stream, const IndexTopKLaunch& launch);

// ---- DeepSeek-V4 (hybrid_attention.cu, compress_pool.cu, hyper_connection.cu) ----
struct HybridAttentionLaunch {
  View q, window, entries, out;       // q, out [tokens, heads, dim]; caches [blocks, rows, dim]
  const int32_t* selected = nullptr;  // [tokens, selected_count]; null: all visible entries
  int64_t selected_count = 0;
  const float* sink = nullptr;
  int64_t window_tokens = 1, tokens_per_entry = 0;  // 0: no entries
  int64_t sequences = 0;
  const int32_t* query_start = nullptr;
  const int32_t* context_lens = nullptr;
  const int32_t* window_table = nullptr;
  const int32_t* table = nullptr;
  int64_t window_table_stride = 0, table_stride = 0;
  float scale = 1;
};
int64_t HybridAttentionSharedBytes(int64_t dim);
int LaunchHybridAttention(Stream stream, const HybridAttentionLaunch& launch);
struct CompressPoolLaunch {
  View rows, step_rows, out;  // f32 [blocks, rows, 2, width], f32 [tokens, 2, width]
  const float* position_bias = nullptr;
  const int32_t* block_tables = nullptr;
  int64_t table_stride = 0, block_tokens = 1;
  const int32_t* query_start = nullptr;
  const int32_t* context_lens = nullptr;
  const int32_t* sequences = nullptr;
  const int32_t* entries = nullptr;
  int64_t ratio = 1, width = 0;
  bool overlap = false;
};
int LaunchCompressPool(Stream stream, const CompressPoolLaunch& launch);
inline constexpr int kMaxStreams = 16;  // kMaxHyperStreams of the op, which device code cannot include
struct HyperCollapseLaunch {
  View streams, mixes, out;
  const float* base = nullptr;
  const float* scale = nullptr;
  float* post = nullptr;  // null: pre only
  float* comb = nullptr;
  float norm_eps = 0, eps = 0;
  int64_t sinkhorn_iterations = 1;
};
int LaunchHyperCollapse(Stream stream, const HyperCollapseLaunch& launch);
int LaunchHyperExpand(Stream stream, View streams, View x, const float* post, const float* comb);

// ---- Mixture of experts (moe_route.cu, moe_permute.cu) ----
struct MoeRouteLaunch {
  View logits;
  const float* correction_bias = nullptr;
  int32_t* ids = nullptr;
  float* weights = nullptr;
  int64_t tokens = 0, experts = 0, top_k = 0, n_group = 1, topk_group = 1;
  const int32_t* expert_table = nullptr;  // [vocab, top_k], with token_ids: the choice is given
  const int32_t* token_ids = nullptr;
  MoeScoring scoring = MoeScoring::kSoftmax;
  bool mask_groups = false, group_by_two = false, masked_weights = false, norm = false;
  float scaling = 1;
};
int64_t MoeRouteSharedBytes(int64_t experts, int64_t groups, int64_t top_k);
int LaunchMoeRoute(Stream stream, const MoeRouteLaunch& launch);  // shared bytes: of each token
// The router's product, planned for few rows, and the choice from its results, which are route.logits. `ended` is
// device memory that holds 0.
int64_t MoeGateSharedBytes(const MoeRouteLaunch& route);
int LaunchMoeGate(Stream stream, const GenericGemmLaunch& gate, const GemvPlan& plan, const MoeRouteLaunch& route,
                  unsigned* ended);
int LaunchMoePermute(Stream stream, const int32_t* ids, int64_t tokens, int64_t top_k, View x, View x_sorted,
                     int32_t* row_of, int32_t* expert_start, int64_t experts);
int64_t MoeUnpermuteSharedBytes(int64_t top_k);
int LaunchMoeUnpermute(Stream stream, View y_sorted, const int32_t* row_of, const float* weights, int64_t top_k,
                       View addend, bool has_addend, View out);

// ---- Sampling (sample.cu) ----
// One row, as the device reads it; built by sample_rows.h.
struct SampleRow {
  float temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty;
  int32_t top_k, target_token, top_logprobs;
  int32_t in_order;  // 1: an id appears twice in a list, so it must be applied one after another
  uint64_t seed, random_counter;
  int64_t first_penalty, penalties, first_bias, biases, first_mask_word;  // offsets into the lists; mask: -1 for none
};
struct SampleToken {  // an entry of SamplePenalty or SampleBias
  int32_t token_id;
  int32_t output_count;
  int32_t in_prompt;
  float bias;
};
// A row is worked on in chunks of the vocabulary, a block each. Scratch memory, per row: a SampleChunk and top_columns
// choices for each chunk, kSampleStates states, kSampleBins masses for each state but the last.
inline constexpr int kSampleChunk = 4096, kSampleBins = 2048, kSampleStates = 7;
struct SampleChoice {
  float value;
  int32_t id;  // -1: none
};
struct SampleChunk {
  SampleChoice best, raw_best;  // with and without adjustments
  double raw_sum;               // of exp(logit - raw_best)
  uint64_t above, ties;         // likelihood above the threshold, tokens at it
  int32_t bad, finite;          // 1: holds NaN or +infinity; holds a finite logit
};
struct SampleState {        // of the search for a threshold (sample_select.cuh)
  uint32_t key, limit_key;  // found so far; of the threshold that is known
  uint64_t limit_ties;      // tokens of that very key that are kept
  uint64_t left;            // mass that is wanted among the keys that begin like `key`
};
struct SampleLaunch {
  View logits;                           // f32 [rows, vocab]
  const SampleRow* rows = nullptr;       // device
  const SampleToken* tokens = nullptr;   // device
  const uint32_t* mask_words = nullptr;  // device
  int32_t chunk_count = 0;
  SampleChunk* chunks = nullptr;                               // device [rows, chunk_count]
  SampleState* states = nullptr;                               // device [rows, kSampleStates]
  uint64_t* bins = nullptr;                                    // device [rows, kSampleStates - 1, kSampleBins]
  SampleChoice* top_choices = nullptr;                         // device [rows, chunk_count, top_columns]
  bool uses_top_k = false, uses_top_p = false, draws = false;  // some row
  int32_t* out_tokens = nullptr;
  float* out_logprobs = nullptr;
  int32_t* out_top_tokens = nullptr;
  float* out_top_logprobs = nullptr;
  int64_t top_columns = 0;
  int32_t* out_status = nullptr;
};
int LaunchSample(Stream stream, const SampleLaunch& launch);

}  // namespace hadal::kernels::cuda
