// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/checkpoint/safetensors.h"
#include "models/checkpoint/tensor_spec.h"
#include "models/config/config.h"

namespace hadal::checkpoint {

// A tensor and the file it lies in.
struct StoredTensor {
  const TensorEntry* entry = nullptr;           // owned by `file`; null for dummy weights
  std::shared_ptr<const SafetensorsFile> file;  // null for dummy weights
};

// What a value of dummy weights counts in progress and reports.
inline constexpr int64_t kDummyBytesPerValue = 2;

// Another name of a tensor; empty for none.
using OtherTensorName = std::string (*)(absl::string_view name);

// What CheckTensors found besides the declared tensors.
struct TensorReport {
  int64_t loaded_tensors = 0;
  int64_t loaded_bytes = 0;  // as stored, scales included
  int64_t ignored_tensors = 0;
  int64_t ignored_bytes = 0;  // as stored
};

// The tensors of a checkpoint folder by name: model.safetensors, or the shards of model.safetensors.index.json. Opening
// maps the files and reads headers only, unless copies are asked for. Immutable, thread-safe, cheap to copy (shared
// contents).
class WeightStore {
 public:
  // Errors name the file, and the tensor where there is one: no weights (with a hint when only pytorch_model*.bin is
  // there), a shard name with a path in it, a missing shard, a tensor that the index lists and the shard lacks or the
  // other way round, a tensor in two shards.
  static absl::StatusOr<WeightStore> Open(const std::string& directory,
                                          models::FileAccess access = models::FileAccess::kMap);

  // True when the folder has model.safetensors or its index, whole or not.
  static bool HasWeights(const std::string& directory);

  // Seeded small random values for the given tensors and no file: for benchmarks.
  static WeightStore Dummy(std::vector<TensorSpec> specs, uint64_t seed);

  // The same tensors; one that is not stored under a name is looked for under `other_name` of it (may be null).
  WeightStore With(OtherTensorName other_name) const;

  bool is_dummy() const;
  const std::string& directory() const;

  // NotFound names the tensor and the folder. Not for dummy weights. The entry has the name in the file.
  absl::StatusOr<StoredTensor> Get(absl::string_view name) const;
  bool Contains(absl::string_view name) const;
  std::vector<std::string> Names() const;  // sorted
  int64_t tensor_count() const;
  int64_t stored_bytes() const;  // tensor data of all files

  const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const;
  void Prefetch() const;
  // DataLoss, naming the file, once a mapped file was found to be shorter than when it was opened.
  absl::Status CheckIntact() const;

  // Shape of a stored or dummy tensor; NotFound as for Get.
  absl::StatusOr<std::vector<int64_t>> Shape(absl::string_view name) const;

  // The spec of a dummy tensor, or null.
  const TensorSpec* DummySpec(absl::string_view name) const;
  uint64_t dummy_seed() const;

 private:
  struct Contents;
  explicit WeightStore(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}
  std::shared_ptr<const Contents> contents_;
  OtherTensorName other_name_ = nullptr;
};

// Compares the store with what the family declares: every required tensor is there, in the declared shape and a type
// that can be loaded, FP8 ones with their scales. Of the other tensors these are ignored: those that `is_mtp_tensor` is
// true of, rotary_emb.inv_freq of old checkpoints, and lm_head.weight where embeddings are tied (HoldDifferentBytes).
// All missing and all unexpected tensors are counted in one InvalidArgument, the first 20 of each listed. No tensor
// data is read.
absl::StatusOr<TensorReport> CheckTensors(const WeightStore& store, const config::ModelConfig& config,
                                          const std::vector<TensorSpec>& specs,
                                          MtpTensorTest is_mtp_tensor = IsMtpLayerTensor);

// True when both tensors are stored and their bytes differ. A checkpoint whose config.json ties such an embedding and
// head has a head of its own all the same, as transformers takes it (tie_weights). Reads both where they are equal: not
// for dummy weights.
bool HoldDifferentBytes(const WeightStore& store, absl::string_view embedding, absl::string_view head);

// What of a checkpoint that CheckTensors has passed is loaded for some of its tensors. Nothing of it is ignored.
TensorReport CountTensors(const WeightStore& store, const config::ModelConfig& config,
                          const std::vector<TensorSpec>& specs);

}  // namespace hadal::checkpoint
