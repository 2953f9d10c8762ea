// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/backend.h"
#include "kernels/tensor_view.h"
#include "models/checkpoint/parameter_loader.h"
#include "models/checkpoint/progress.h"
#include "models/checkpoint/weights.h"

namespace hadal::checkpoint {

// Rows [begin, begin + count) of a stored tensor, seen as [shape[0], product of the rest].
struct RowRange {
  std::string name;
  int64_t begin = 0;
  int64_t count = -1;  // -1: all rows from begin
};

// Brings stored tensors into the backend's memory in the type that is computed with. A tensor that already lies there
// as wanted (host-accessible backend, same type, sufficient alignment, adjacent in the file when several are joined) is
// used in place; all else is converted into a backend buffer, straight from the file to where the device copies from, a
// few MiB a thread at a time.
//
// Conversions go through f32 and round once, to nearest, ties to even. f32, bf16 and f16 are read, and FP8 E4M3 and
// packed FP4 E2M1 with their block scales (dequantised in f32: value * scale). A finite value beyond the range of f16
// is an error that names the tensor and the value; infinities and NaN are kept.
//
// Thread-safe: several threads may load at once. The store is shared; the backend must outlive the loader.
class WeightLoader : public ParameterLoader {
 public:
  struct Options {
    kernels::DType compute_dtype = kernels::DType::kBF16;
    bool allow_zero_copy = true;
    int64_t zero_copy_alignment_bytes = 0;  // 0: the element's size
    int32_t threads = 0;                    // for large conversions; 0: one per core, at most 8
    LoadProgressCallback progress;          // may be empty
    int64_t progress_total_bytes = 0;       // TensorReport::loaded_bytes
  };

  // InvalidArgument for a compute type that is none of f32, bf16, f16.
  static absl::StatusOr<std::unique_ptr<WeightLoader>> Create(WeightStore store, const config::ModelConfig& config,
                                                              kernels::Backend* backend, Options options);
  ~WeightLoader() override;

  kernels::DType compute_dtype() const override;
  kernels::Backend* backend() const;
  const WeightStore& store() const;

  // Declared parameters, as CheckTensors has found them in the store.
  absl::StatusOr<LoadedTensor> Take(const TensorSpec& spec) override;
  absl::StatusOr<LoadedTensor> TakeStacked(const std::vector<TensorSpec>& specs) override;
  absl::StatusOr<LoadedTensor> TakeGroups(const std::vector<std::vector<TensorSpec>>& groups) override;
  absl::StatusOr<LoadedTensor> TakeExpertTable(const TensorSpec& spec, int64_t experts) override;
  bool DeclareTable(int64_t) override { return true; }

  // The tensor in its stored shape, in the compute type or in `dtype` (f32, bf16, f16).
  absl::StatusOr<LoadedTensor> Load(absl::string_view name);
  absl::StatusOr<LoadedTensor> Load(absl::string_view name, kernels::DType dtype);

  // Rows one below the other: [sum of counts, columns] (or [sum] when all are vectors). Column counts must agree. For
  // example q, k and v projections as one matrix, a permuted order of rows, a slice for one rank.
  absl::StatusOr<LoadedTensor> LoadRows(const std::vector<RowRange>& rows);
  absl::StatusOr<LoadedTensor> LoadRows(const std::vector<RowRange>& rows, kernels::DType dtype);
  // LoadRows of whole tensors.
  absl::StatusOr<LoadedTensor> LoadStacked(const std::vector<std::string>& names);

  // [groups, rows, columns]: group g is LoadRows(groups[g]). For example gate and up of all experts: groups[e] =
  // {gate_e, up_e}. All groups have the same number of rows.
  absl::StatusOr<LoadedTensor> LoadGroups(const std::vector<std::vector<RowRange>>& groups);

  // [heads, rank, width] from kv_b_proj.weight-like [heads * head_rows, rank]: element (h, c, r) is stored row
  // h * head_rows + first_row + r, column c. For example W_UK^T of latent attention: first_row 0, width
  // qk_nope_head_dim.
  absl::StatusOr<LoadedTensor> LoadHeadsTransposed(absl::string_view name, int64_t heads, int64_t head_rows,
                                                   int64_t first_row, int64_t width);
  // [heads, width, rank]: the same rows, not transposed. For example W_UV: first_row qk_nope_head_dim, width
  // v_head_dim.
  absl::StatusOr<LoadedTensor> LoadHeads(absl::string_view name, int64_t heads, int64_t head_rows, int64_t first_row,
                                         int64_t width);

  // gate.tid2eid [vocab, experts per token] of a hash layer as i32. InvalidArgument names the token and the value when
  // an entry is no expert in [0, experts).
  absl::StatusOr<LoadedTensor> LoadExpertTable(absl::string_view name, int64_t experts);

  // Bytes of backend buffers made so far, and of tensors used in place.
  int64_t buffer_bytes() const;
  int64_t zero_copy_bytes() const;

 private:
  struct State;
  explicit WeightLoader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal::checkpoint
