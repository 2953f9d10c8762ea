// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "models/checkpoint/scale.h"
#include "models/checkpoint/weights.h"
#include "models/json/json_field.h"

namespace hadal::checkpoint {
namespace {

constexpr size_t kListed = 20;

// Counts everything, keeps the first few for the message.
struct Findings {
  int64_t count = 0;
  std::vector<std::string> first;

  void Add(std::string text) {
    ++count;
    if (first.size() < kListed) first.push_back(std::move(text));
  }
};

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

bool MayBeQuantized(TensorRole role) { return role == TensorRole::kMatrix || role == TensorRole::kExpert; }

// May be in a checkpoint, whatever the family.
bool IsLeftOver(const config::ModelConfig& config, absl::string_view name) {
  return absl::EndsWith(name, ".rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight");
}

// All experts of a layer in one tensor, the layout of transformers 5's modules.
bool IsFusedExperts(absl::string_view name) {
  return absl::EndsWith(name, ".experts.gate_up_proj") || absl::EndsWith(name, ".experts.down_proj");
}

class Checker {
 public:
  Checker(const WeightStore& store, const config::ModelConfig& config, MtpTensorTest is_mtp_tensor)
      : store_(store), config_(config), is_mtp_tensor_(is_mtp_tensor) {}

  void CheckSpec(const TensorSpec& spec) {
    if (store_.is_dummy()) return CheckDummySpec(spec);
    auto stored = store_.Get(spec.name);
    if (!stored.ok()) {
      if (!spec.optional) missing_.Add(spec.name);
      return;
    }
    const TensorEntry& entry = *stored->entry;
    declared_.insert(entry.name);
    Count(entry);
    if (entry.dtype == StoredDType::kI8 && spec.role == TensorRole::kExpert) return CheckPackedExpert(*stored, spec);
    if (entry.shape != spec.shape) {
      return Mismatch(*stored, absl::StrCat("shape ", ShapeText(spec.shape)), ShapeText(entry.shape));
    }
    if (spec.role == TensorRole::kExpertTable) {
      if (entry.dtype != StoredDType::kI64 && entry.dtype != StoredDType::kI32) {
        Mismatch(*stored, "dtype I64 or I32", DescribeStoredDType(entry.dtype));
      }
      return;
    }
    if (entry.dtype == StoredDType::kF8E4M3 && MayBeQuantized(spec.role)) return CheckScale(*stored);
    if (!IsPlainFloat(entry.dtype)) {
      Mismatch(*stored, MayBeQuantized(spec.role) ? "dtype F32, F16, BF16 or F8_E4M3" : "dtype F32, F16 or BF16",
               DescribeStoredDType(entry.dtype));
    }
  }

  void CheckRest() {
    if (store_.is_dummy()) return;
    for (const auto& file : store_.files()) {
      for (const TensorEntry& entry : file->tensors()) {
        if (declared_.contains(entry.name)) continue;
        if (IsLeftOver(config_, entry.name) || is_mtp_tensor_(config_, entry.name)) {
          ++report_.ignored_tensors;
          report_.ignored_bytes += static_cast<int64_t>(entry.bytes.size());
        } else {
          unexpected_.Add(json::QuoteForError(entry.name));
          fused_experts_ |= IsFusedExperts(entry.name);
        }
      }
    }
  }

  const TensorReport& report() const { return report_; }

  absl::StatusOr<TensorReport> Result() const {
    std::vector<std::string> parts;
    Describe(missing_, "missing", ", ", parts);
    Describe(unexpected_, "unexpected", ", ", parts);
    if (fused_experts_) {
      parts.push_back(
          "experts fused into one tensor a layer are not read: save with save_original_format=True, the "
          "default of transformers' save_pretrained");
    }
    Describe(mismatched_, "not as expected", "; ", parts);
    if (parts.empty()) return report_;
    return absl::InvalidArgumentError(
        absl::StrCat(store_.is_dummy() ? "dummy weights" : store_.directory(), ": ", absl::StrJoin(parts, "; ")));
  }

 private:
  void CheckDummySpec(const TensorSpec& spec) {
    const TensorSpec* dummy = store_.DummySpec(spec.name);
    if (dummy == nullptr) {
      if (!spec.optional) missing_.Add(spec.name);
      return;
    }
    int64_t elements = 1;
    for (int64_t size : spec.shape) elements *= size;
    ++report_.loaded_tensors;
    report_.loaded_bytes += elements * kDummyBytesPerValue;
    if (dummy->shape != spec.shape) {
      mismatched_.Add(absl::StrCat("tensor \"", spec.name, "\": expected shape ", ShapeText(spec.shape), ", found ",
                                   ShapeText(dummy->shape)));
    }
  }

  void CheckPackedExpert(const StoredTensor& stored, const TensorSpec& spec) {
    const std::vector<int64_t> packed = {spec.shape[0], spec.shape[1] / 2};
    if (spec.shape[1] % 2 != 0 || stored.entry->shape != packed) {
      const std::string expected =
          absl::StrCat("shape ", ShapeText(packed), ", two FP4 values a byte, for ", ShapeText(spec.shape));
      return Mismatch(stored, expected, ShapeText(stored.entry->shape));
    }
    CheckScale(stored);
  }

  void CheckScale(const StoredTensor& stored) {
    for (std::string& name : ScaleNames(stored.entry->name)) {
      if (store_.Contains(name)) declared_.insert(std::move(name));
    }
    auto format = QuantizedFormat(*stored.entry, config_.fp8);
    if (!format.ok()) {
      return mismatched_.Add(absl::StrCat(stored.file->path(), ": ", format.status().message()));
    }
    auto scale = FindScale(store_, *stored.entry, *format);
    if (absl::IsNotFound(scale.status())) {
      return missing_.Add(absl::StrJoin(ScaleNames(stored.entry->name), " or "));
    }
    if (!scale.ok()) return mismatched_.Add(std::string(scale.status().message()));
    Count(*scale->entry);
  }

  void Mismatch(const StoredTensor& stored, absl::string_view expected, absl::string_view found) {
    mismatched_.Add(absl::StrCat(stored.file->path(), ": tensor \"", stored.entry->name, "\": expected ", expected,
                                 ", found ", found));
  }

  void Count(const TensorEntry& entry) {
    ++report_.loaded_tensors;
    report_.loaded_bytes += static_cast<int64_t>(entry.bytes.size());
  }

  static void Describe(const Findings& findings, absl::string_view what, absl::string_view separator,
                       std::vector<std::string>& parts) {
    if (findings.count == 0) return;
    const int64_t rest = findings.count - static_cast<int64_t>(findings.first.size());
    parts.push_back(absl::StrCat(findings.count, findings.count == 1 ? " tensor " : " tensors ", what, ": ",
                                 absl::StrJoin(findings.first, separator),
                                 rest > 0 ? absl::StrCat(separator, "and ", rest, " more") : ""));
  }

  const WeightStore& store_;
  const config::ModelConfig& config_;
  const MtpTensorTest is_mtp_tensor_;
  TensorReport report_;
  absl::flat_hash_set<std::string> declared_;
  Findings missing_;
  Findings unexpected_;
  Findings mismatched_;
  bool fused_experts_ = false;
};

}  // namespace

absl::StatusOr<TensorReport> CheckTensors(const WeightStore& store, const config::ModelConfig& config,
                                          const std::vector<TensorSpec>& specs, MtpTensorTest is_mtp_tensor) {
  Checker checker(store, config, is_mtp_tensor);
  for (const TensorSpec& spec : specs) checker.CheckSpec(spec);
  checker.CheckRest();
  return checker.Result();
}

bool HoldDifferentBytes(const WeightStore& store, absl::string_view embedding, absl::string_view head) {
  const auto first = store.Get(embedding), second = store.Get(head);
  if (!first.ok() || !second.ok()) return false;
  const TensorEntry &one = *first->entry, &other = *second->entry;
  return one.dtype != other.dtype || one.shape != other.shape ||
         std::memcmp(one.bytes.data(), other.bytes.data(), one.bytes.size()) != 0;
}

TensorReport CountTensors(const WeightStore& store, const config::ModelConfig& config,
                          const std::vector<TensorSpec>& specs) {
  Checker checker(store, config, IsMtpLayerTensor);
  for (const TensorSpec& spec : specs) checker.CheckSpec(spec);
  return checker.report();
}

}  // namespace hadal::checkpoint
