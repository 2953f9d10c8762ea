// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "kernels/backend.h"
#include "models/checkpoint/fingerprint.h"
#include "models/checkpoint/weight_loader.h"
#include "models/checkpoint/weights.h"
#include "models/families/family.h"
#include "models/families/network_outline.h"
#include "models/model_runner.h"
#include "models/network_part.h"
#include "models/plan/layer_split.h"
#include "models/status_macros.h"

namespace hadal::models {

namespace {

using kernels::DType;

struct Registration {
  const char* architecture;
  Family family;
};

const std::vector<Registration>& Registrations() {
  static const auto* registrations = new std::vector<Registration>{
#define HADAL_FAMILY(name, architecture, model_type, parser, dense_mlp, network) {architecture, network##Family(name)},
#include "models/config/families.def"
#undef HADAL_FAMILY
  };
  return *registrations;
}

constexpr uint64_t kDummySeed = 20240531;

absl::StatusOr<DType> ChooseDType(const std::string& name, const config::ModelConfig& config) {
  if (name == "auto") return config.DefaultComputeDType();
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name == "float32") return DType::kF32;
  return absl::InvalidArgumentError(absl::StrCat("dtype ", name, " is none of auto, bfloat16, float16, float32"));
}

const char* DTypeLongName(DType dtype) {
  if (dtype == DType::kBF16) return "bfloat16";
  return dtype == DType::kF16 ? "float16" : "float32";
}

absl::StatusOr<MlaForm> ChooseMlaForm(const LoadOptions& options) {
  const std::string& name = options.mla_form;
  if (options.batch_invariant) {
    if (name == "auto" || name == "absorbed") return MlaForm::kAbsorbed;
    return absl::InvalidArgumentError(
        absl::StrCat("mla_form ", name, " is not batch-invariant: a single token takes the absorbed form"));
  }
  if (name == "auto") return MlaForm::kAuto;
  if (name == "absorbed") return MlaForm::kAbsorbed;
  if (name == "expanded") return MlaForm::kExpanded;
  return absl::InvalidArgumentError(absl::StrCat("mla_form ", name, " is none of auto, absorbed, expanded"));
}

absl::StatusOr<std::unique_ptr<kernels::Backend>> OpenDevice(const LoadOptions& options) {
  kernels::Backend::Options backend_options;
  backend_options.threads = options.threads;
  backend_options.isa = options.isa;
  backend_options.memory_budget_bytes = options.memory_budget_bytes;
  backend_options.batch_invariant = options.batch_invariant;
  backend_options.algorithm_folder = options.algorithm_folder;
  backend_options.timing_limit_us = options.timing_limit_us;
  if (options.warn) {
    backend_options.warn = [warn = options.warn](absl::string_view line) { warn(std::string(line)); };
  }
  if (options.note) {
    backend_options.note = [note = options.note](absl::string_view line) { note(std::string(line)); };
  }
  if (options.device == "auto") {
    auto gpu = kernels::CreateBackend("cuda", backend_options);
    if (gpu.ok()) return gpu;
    // A GPU that is there and does not work must not become a server that is "ready" on the CPU.
    if (absl::IsNotFound(gpu.status())) return kernels::CreateBackend("cpu", backend_options);
    return absl::Status(gpu.status().code(),
                        absl::StrCat(gpu.status().message(), "; device cpu would do without the GPU"));
  }
  absl::string_view name = options.device;
  if (absl::ConsumePrefix(&name, "cuda:")) {
    if (!absl::SimpleAtoi(name, &backend_options.device_index) || backend_options.device_index < 0) {
      return absl::InvalidArgumentError(absl::StrCat("device ", options.device, ": expected cuda:N"));
    }
    name = "cuda";
  }
  return kernels::CreateBackend(name, backend_options);
}

// Everything that is known before tensor data is read.
struct Checkpoint {
  config::ModelConfig config;
  const Family* family = nullptr;
  DType dtype = DType::kBF16;
  int32_t max_model_len = 0;
  checkpoint::WeightStore store;
  checkpoint::TensorReport report;
  std::shared_ptr<NetworkOutline> outline;  // of the layers that are loaded
};

absl::Status CheckOptions(const LoadOptions& options) {
  if (options.max_batch_tokens < 1 || options.max_batch_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_batch_tokens is ", options.max_batch_tokens,
                                                   " and max_batch_size is ", options.max_batch_size, ", minimum 1"));
  }
  if (options.max_model_len < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_model_len is ", options.max_model_len, ", minimum 1"));
  }
  if (options.layers.has_value() && options.weights == FileAccess::kCopy) {
    return absl::InvalidArgumentError("a range of layers is loaded from mapped weights: a copy would hold all layers");
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> ChooseMaxModelLen(const LoadOptions& options, const config::ModelConfig& config) {
  const int64_t longest = std::min<int64_t>(config.max_position_embeddings, std::numeric_limits<int32_t>::max());
  if (options.max_model_len > longest) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_model_len is ", options.max_model_len, ", limit ", longest, " (max_position_embeddings)"));
  }
  return options.max_model_len > 0 ? options.max_model_len : static_cast<int32_t>(longest);
}

absl::StatusOr<std::shared_ptr<NetworkOutline>> OutlineOf(const Family& family, const config::ModelConfig& config,
                                                          DType dtype, int32_t max_model_len, const std::string& dir) {
  auto outline = NetworkOutline::Create(family, config, dtype, max_model_len);
  if (outline.ok()) return outline;
  return absl::Status(outline.status().code(), absl::StrCat(dir, "/config.json: ", outline.status().message()));
}

// A folder without weights is opened as with dummy ones when `may_lack_weights`.
absl::StatusOr<Checkpoint> OpenCheckpoint(const LoadOptions& options, bool may_lack_weights = false) {
  HADAL_RETURN_IF_ERROR(CheckOptions(options));
  if (options.progress) options.progress({checkpoint::LoadStage::kOpen, 0, 0});
  HADAL_ASSIGN_OR_RETURN(config::ModelConfig config, config::ReadModelConfig(options.dir));
  HADAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(config.architecture));
  HADAL_ASSIGN_OR_RETURN(const DType dtype, ChooseDType(options.dtype, config));
  HADAL_ASSIGN_OR_RETURN(const int32_t max_model_len, ChooseMaxModelLen(options, config));
  HADAL_ASSIGN_OR_RETURN(std::shared_ptr<NetworkOutline> outline,
                         OutlineOf(*family, config, dtype, max_model_len, options.dir));
  bool dummy = options.load_format == LoadFormat::kDummy;
  absl::StatusOr<checkpoint::WeightStore> stored = absl::NotFoundError("");
  if (!dummy) {
    const FileAccess access = may_lack_weights ? FileAccess::kMap : options.weights;  // a plan reads headers only
    stored = checkpoint::WeightStore::Open(options.dir, access);
    dummy = may_lack_weights && absl::IsNotFound(stored.status()) && !checkpoint::WeightStore::HasWeights(options.dir);
  }
  if (dummy) stored = checkpoint::WeightStore::Dummy(outline->tensors(), kDummySeed);
  HADAL_ASSIGN_OR_RETURN(checkpoint::WeightStore store, std::move(stored));
  if (family->other_tensor_name != nullptr) store = store.With(family->other_tensor_name);
  if (options.progress) options.progress({checkpoint::LoadStage::kValidate, 0, 0});
  if (config.tie_word_embeddings && !dummy &&
      checkpoint::HoldDifferentBytes(store, "model.embed_tokens.weight", "lm_head.weight")) {
    config.tie_word_embeddings = false;
    HADAL_ASSIGN_OR_RETURN(outline, OutlineOf(*family, config, dtype, max_model_len, options.dir));
  }
  HADAL_ASSIGN_OR_RETURN(checkpoint::TensorReport report,
                         checkpoint::CheckTensors(store, config, outline->tensors(), family->is_mtp_tensor));
  if (options.layers.has_value()) {
    HADAL_ASSIGN_OR_RETURN(outline, NetworkOutline::Create(*family, config, dtype, max_model_len, options.layers));
    report = checkpoint::CountTensors(store, config, outline->tensors());
  }
  return Checkpoint{std::move(config), family, dtype, max_model_len, std::move(store), report, std::move(outline)};
}

std::string ServedName(const LoadOptions& options) {
  if (!options.name.empty()) return options.name;
  std::filesystem::path path = std::filesystem::path(options.dir).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  return path.filename().string();
}

// Bytes of weights of each layer, with the embedding in the first and the head in the last.
absl::StatusOr<std::vector<int64_t>> LayerBytes(const Family& family, const config::ModelConfig& config, DType dtype) {
  std::vector<int64_t> bytes;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    checkpoint::RecordingLoader loader(dtype);
    MetaBackend backend;
    const LoadContext context = {config, loader, backend, LayerRange{layer, layer + 1}};
    HADAL_RETURN_IF_ERROR(family.load(context, {.max_model_len = 1}).status());
    bytes.push_back(checkpoint::CountParameters(loader.specs(), dtype, 1, 1).bytes);
  }
  return bytes;
}

int64_t StepWorkspaceBytes(const Checkpoint& checkpoint, int64_t max_tokens, int64_t max_sequences) {
  const int64_t logits = checkpoint.outline->edges().gives_state ? 0 : checkpoint.config.vocab_size;
  return StepExecutor::WorkspaceBytes(checkpoint.outline->WorkspaceBytes(max_tokens), checkpoint.config.hidden_size,
                                      logits, checkpoint.max_model_len, checkpoint.outline->kv_layout(), max_tokens,
                                      max_sequences);
}

kernels::StepBounds BoundsOf(const Checkpoint& checkpoint, const LoadOptions& options) {
  const config::ModelConfig& config = checkpoint.config;
  kernels::StepBounds bounds;
  bounds.tokens = options.max_batch_tokens;
  bounds.sequences = options.max_batch_size;
  bounds.context_tokens = checkpoint.max_model_len;
  bounds.block_tokens = StepExecutor::kMinBlockTokens;
  bounds.vocab = config.vocab_size;
  if (config.moe.has_value()) bounds.experts = config.moe->routed_experts;
  if (const auto* gqa = std::get_if<config::GqaConfig>(&config.attention)) {
    bounds.paged_heads = gqa->heads;
    bounds.paged_kv_heads = gqa->kv_heads;
    bounds.paged_head_dim = gqa->head_dim;
  } else if (const auto* mla = std::get_if<config::MlaConfig>(&config.attention)) {
    bounds.latent_heads = mla->heads;
    const absl::StatusOr<MlaForm> form = ChooseMlaForm(options);
    if (form.ok() && *form != MlaForm::kAbsorbed) {
      bounds.expanded_kv_tokens = MlaPlanner::kMaxExpansion * options.max_batch_tokens;
      bounds.expanded_key_dim = mla->qk_head_dim();
    }
    if (mla->indexer.has_value()) bounds.index_entry_tokens = 1;
  } else if (const auto* hybrid = std::get_if<config::HybridAttentionConfig>(&config.attention)) {
    if (hybrid->indexer.has_value()) bounds.index_entry_tokens = hybrid->csa_ratio;
  }
  return bounds;
}

}  // namespace

std::vector<std::string> KnownArchitectures() {
  std::vector<std::string> names;
  for (const Registration& entry : Registrations()) names.push_back(entry.architecture);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<const Family*> FindFamily(absl::string_view architecture) {
  for (const Registration& entry : Registrations()) {
    if (architecture == entry.architecture) return &entry.family;
  }
  return absl::UnimplementedError(absl::StrCat("architecture ", architecture, " is not offered; known are ",
                                               absl::StrJoin(KnownArchitectures(), ", ")));
}

absl::StatusOr<std::unique_ptr<ModelPart>> LoadPart(const LoadOptions& options) {
  HADAL_ASSIGN_OR_RETURN(const MlaForm mla_form, ChooseMlaForm(options));
  HADAL_ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(options));
  HADAL_ASSIGN_OR_RETURN(std::unique_ptr<kernels::Backend> backend, OpenDevice(options));
  const config::ModelConfig& config = checkpoint.config;
  const DType dtype = checkpoint.dtype;

  checkpoint::WeightLoader::Options loader_options;
  loader_options.compute_dtype = dtype;
  loader_options.threads = options.threads;
  loader_options.progress = options.progress;
  loader_options.progress_total_bytes = checkpoint.report.loaded_bytes;
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<checkpoint::WeightLoader> weight_loader,
                         checkpoint::WeightLoader::Create(checkpoint.store, config, backend.get(), loader_options));
  const LoadContext context = {config, *weight_loader, *backend, options.layers};
  HADAL_ASSIGN_OR_RETURN(std::unique_ptr<Network> network,
                         checkpoint.family->load(context, {checkpoint.max_model_len, mla_form}));
  HADAL_RETURN_IF_ERROR(backend->Synchronize());
  HADAL_RETURN_IF_ERROR(checkpoint.store.CheckIntact());

  ModelInfo info;
  info.name = ServedName(options);
  info.family = checkpoint.family->name;
  info.dtype = DTypeLongName(dtype);
  info.device = backend->device();
  info.device_text = backend->description();
  const kernels::BackendFacts facts = backend->Facts();
  info.device_facts = {facts.multiprocessors, facts.mps, facts.pci_bus_id};
  info.fingerprint = checkpoint::Fingerprint(config, checkpoint.store);
  info.vocab_size = static_cast<int32_t>(config.vocab_size);
  info.max_model_len = checkpoint.max_model_len;
  info.parameter_count = checkpoint.outline->totals().parameters;
  info.weights_bytes = weight_loader->buffer_bytes() + weight_loader->zero_copy_bytes();

  StepBudget budget;
  budget.max_tokens = options.max_batch_tokens;
  budget.max_sequences = options.max_batch_size;
  budget.network_workspace = [outline = checkpoint.outline](int64_t tokens) { return outline->WorkspaceBytes(tokens); };
  budget.bounds = BoundsOf(checkpoint, options);
  auto part = std::make_unique<NetworkPart>(std::move(info), context.layers(), std::move(backend), std::move(network),
                                            std::move(budget));
  if (weight_loader->zero_copy_bytes() > 0) {
    part->CheckAfterSteps([store = checkpoint.store] { return store.CheckIntact(); });
  }
  return part;
}

std::unique_ptr<Model> MakeModel(std::unique_ptr<ModelPart> part, std::unique_ptr<ModelRest> rest,
                                 int overlapped_steps) {
  return std::make_unique<ModelRunner>(std::move(part), std::move(rest), overlapped_steps);
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const LoadOptions& options) {
  LoadOptions all = options;
  all.layers.reset();
  HADAL_ASSIGN_OR_RETURN(std::unique_ptr<ModelPart> part, LoadPart(all));
  return MakeModel(std::move(part), nullptr);
}

absl::StatusOr<CheckpointIdentity> IdentifyCheckpoint(const LoadOptions& options) {
  HADAL_ASSIGN_OR_RETURN(const config::ModelConfig config, config::ReadModelConfig(options.dir));
  HADAL_ASSIGN_OR_RETURN(const DType dtype, ChooseDType(options.dtype, config));
  HADAL_ASSIGN_OR_RETURN(const checkpoint::WeightStore store,
                         options.load_format == LoadFormat::kDummy
                             ? checkpoint::WeightStore::Dummy({}, kDummySeed)
                             : checkpoint::WeightStore::Open(options.dir, FileAccess::kMap));
  HADAL_ASSIGN_OR_RETURN(const int32_t max_model_len, ChooseMaxModelLen(options, config));
  return CheckpointIdentity{checkpoint::Fingerprint(config, store), DTypeLongName(dtype), config.layers, max_model_len};
}

absl::StatusOr<std::vector<LayerRange>> DivideLayers(const LoadOptions& options, int parts,
                                                     absl::Span<const int64_t> counts) {
  HADAL_ASSIGN_OR_RETURN(const config::ModelConfig config, config::ReadModelConfig(options.dir));
  if (!counts.empty()) return plan::SplitLayersByCounts(config.layers, counts);
  HADAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(config.architecture));
  HADAL_ASSIGN_OR_RETURN(const DType dtype, ChooseDType(options.dtype, config));
  HADAL_ASSIGN_OR_RETURN(const std::vector<int64_t> bytes, LayerBytes(*family, config, dtype));
  return plan::SplitLayersByBytes(bytes, parts);
}

absl::StatusOr<int64_t> DeviceMemoryBytes(const LoadOptions& options) {
  LoadOptions device_options = options;
  device_options.threads = 1;  // nothing is computed
  device_options.memory_budget_bytes = 0;
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Backend> backend, OpenDevice(device_options));
  if (backend->host_accessible()) return 0;
  HADAL_ASSIGN_OR_RETURN(const kernels::DeviceMemory memory, backend->Memory());
  return memory.total_bytes - memory.used_bytes;
}

void SettleDevices() { kernels::SettleDevices(); }

absl::StatusOr<ModelPlan> PlanModel(const LoadOptions& options, int64_t block_tokens) {
  HADAL_ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(options, /*may_lack_weights=*/true));
  LoadOptions device_options = options;
  device_options.threads = 1;  // nothing is computed
  device_options.memory_budget_bytes = 0;
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Backend> backend, OpenDevice(device_options));

  plan::MemoryPlanOptions plan_options;
  plan_options.parameters = checkpoint.outline->totals();
  plan_options.mtp_parameters = checkpoint.outline->mtp_parameters();
  plan_options.kv_layout = checkpoint.outline->kv_layout();
  plan_options.block_tokens = block_tokens;
  plan_options.max_sequences = options.max_batch_size;
  plan_options.max_step_tokens = options.max_batch_tokens;
  plan_options.max_model_len = checkpoint.max_model_len;
  plan_options.budget_bytes = options.memory_budget_bytes;
  plan_options.workspace_bytes = StepWorkspaceBytes(checkpoint, options.max_batch_tokens, options.max_batch_size) +
                                 backend->ScratchBytes(BoundsOf(checkpoint, options));
  plan_options.extra_weights_bytes = checkpoint.outline->table_bytes();
  plan_options.ignored_tensors = checkpoint.report.ignored_tensors;
  plan_options.ignored_bytes = checkpoint.report.ignored_bytes;
  ModelPlan plan;
  plan.has_weights = !checkpoint.store.is_dummy();
  HADAL_ASSIGN_OR_RETURN(plan.memory, plan::PlanMemory(checkpoint.config, plan_options));
  plan.device = std::string(backend->name());
  plan.dtype = DTypeLongName(checkpoint.dtype);
  plan.config = std::move(checkpoint.config);
  return plan;
}

}  // namespace hadal::models
