// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "models/checkpoint/progress.h"
#include "models/config/config.h"
#include "models/mapped_file.h"
#include "models/model.h"
#include "models/model_part.h"
#include "models/plan/memory_plan.h"

namespace hadal::models {

struct Family;

enum class LoadFormat {
  kAuto,   // the checkpoint's own weights
  kDummy,  // random weights from config.json alone, for benchmarks
};

struct LoadOptions {
  std::string dir;   // checkpoint folder: config.json and *.safetensors
  std::string name;  // served name; empty: the folder's name
  // auto (a GPU; the CPU where there is none), cpu, cuda[:N], torch, torch:cpu, torch:cuda[:N], reference
  std::string device = "auto";
  std::string dtype = "auto";  // auto (the checkpoint's half type), bfloat16, float16, float32
  LoadFormat load_format = LoadFormat::kAuto;
  FileAccess weights = FileAccess::kMap;  // mapped weights are used where they lie; a copy survives its file
  int32_t threads = 0;                    // CPU compute threads; 0: one per core
  std::string isa = "auto";               // CPU instruction set, see kernels::Backend::Options
  int64_t memory_budget_bytes = 0;        // limit on device buffers; 0: what the device has
  int32_t max_model_len = 0;              // tokens, at most the configuration's; 0: the configuration's
  int32_t max_batch_tokens = 2048;        // most tokens of one step
  int32_t max_batch_size = 256;           // most sequences of one step
  std::string mla_form = "auto";          // latent attention of prompts: auto, absorbed, expanded (tests, measurements)
  bool batch_invariant = false;  // a row is equal to the last bit in every batch: one form of latent attention for all
                                 // rows, and Backend::Options::batch_invariant
  std::optional<LayerRange> layers;           // what LoadPart loads; absent: all layers
  std::string algorithm_folder;               // as Backend::Options has it
  int64_t timing_limit_us = 0;                // likewise
  checkpoint::LoadProgressCallback progress;  // may be empty
  // Take lines for the log from the device: what an operator should see, and what is good to know. May be empty.
  std::function<void(const std::string&)> warn, note;
};

// Reads and checks a checkpoint folder and loads it onto the device. Errors say which file, field or tensor is wrong,
// what was expected and what was found: InvalidArgument (a bad option or checkpoint), NotFound (a file), Unimplemented
// (an architecture or feature that is not offered), FailedPrecondition (the device cannot be used), ResourceExhausted
// (memory), Unavailable (the device takes nobody now, but may later).
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const LoadOptions& options);

// The same for the layers that the options name: the whole checkpoint is checked, and their tensors are read.
// InvalidArgument for layers that the model has not, and for copied weights when layers are named, since those are
// copied file by file.
absl::StatusOr<std::unique_ptr<ModelPart>> LoadPart(const LoadOptions& options);

// The model whose first layers `part` holds; `rest` has the layers after them, and is null when there are none.
// `overlapped_steps`: of Model, where there are such; 1: one step after another.
std::unique_ptr<Model> MakeModel(std::unique_ptr<ModelPart> part, std::unique_ptr<ModelRest> rest,
                                 int overlapped_steps = 1);

// What two hosts that share a model must agree on, from config.json and the headers of the weights.
struct CheckpointIdentity {
  std::string fingerprint;  // ModelInfo::fingerprint
  std::string dtype;        // the compute type that the options' choice comes to
  int64_t layers = 0;
  int32_t max_model_len = 0;  // the options' or, when they name none, the configuration's
};
// Errors as of LoadModel.
absl::StatusOr<CheckpointIdentity> IdentifyCheckpoint(const LoadOptions& options);

// The layers of a model for each of `parts` parts: as many as `counts` say, or, when there are none, so that the part
// with the most bytes of weights has as few as possible. Reads config.json alone. InvalidArgument for parts without a
// layer and for counts that do not fit.
absl::StatusOr<std::vector<LayerRange>> DivideLayers(const LoadOptions& options, int parts,
                                                     absl::Span<const int64_t> counts);

// Bytes that the device of these options has left for buffers, short of what its libraries need; 0 when it uses host
// memory. Opens the device for a moment. Errors as of LoadModel.
absl::StatusOr<int64_t> DeviceMemoryBytes(const LoadOptions& options);

// Waits for all that this process has queued on its GPUs, from any thread: for a process that ends without destructors.
void SettleDevices();

// What would be loaded, from config.json and the headers of the weights alone.
struct ModelPlan {
  config::ModelConfig config;
  std::string device;        // the device that "auto" chose
  std::string dtype;         // the compute type that "auto" chose
  bool has_weights = false;  // false: planned from config.json alone
  plan::MemoryPlan memory;
};

// Checks everything that LoadModel would check short of reading tensor data, and plans the memory; a folder that holds
// no weights is planned from its config.json. The budget in the options is shared by weights, workspace and a cache of
// blocks of `block_tokens` tokens.
absl::StatusOr<ModelPlan> PlanModel(const LoadOptions& options, int64_t block_tokens);

// Architecture names that LoadModel knows, sorted.
std::vector<std::string> KnownArchitectures();

// The family of an architecture; Unimplemented, with the known ones, for another.
absl::StatusOr<const Family*> FindFamily(absl::string_view architecture);

}  // namespace hadal::models
