// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weights.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "models/checkpoint/weight_index.h"
#include "models/json/json_field.h"

namespace hadal::checkpoint {

struct WeightStore::Contents {
  std::string directory;
  std::vector<std::shared_ptr<const SafetensorsFile>> files;
  absl::flat_hash_map<std::string, StoredTensor> tensors;
  int64_t stored_bytes = 0;
  bool dummy = false;
  uint64_t seed = 0;
  absl::flat_hash_map<std::string, TensorSpec> specs;  // dummy only
};

namespace {

constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Says why there is nothing to load.
absl::Status NoWeights(const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    return absl::NotFoundError(absl::StrCat(directory, ": expected a checkpoint folder, found none"));
  }
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (absl::StartsWith(name, "pytorch_model") && absl::StrContains(name, ".bin")) {
      return absl::FailedPreconditionError(
          absl::StrCat(directory, ": expected ", kSingleFile, " or ", kIndexFile, ", found ", name,
                       ": convert the checkpoint to safetensors first (transformers: model.save_pretrained)"));
    }
  }
  return absl::NotFoundError(
      absl::StrCat(directory, ": expected ", kSingleFile, " or ", kIndexFile, ", found neither"));
}

// `listed`: the index's map, or null for a single file.
absl::Status AddFile(const std::string& path, models::FileAccess access, const std::string& shard,
                     const std::map<std::string, std::string>* listed,
                     std::vector<std::shared_ptr<const SafetensorsFile>>& files,
                     absl::flat_hash_map<std::string, StoredTensor>& tensors, int64_t& stored_bytes) {
  auto file = SafetensorsFile::Open(path, access);
  if (!file.ok()) {
    if (listed == nullptr || !absl::IsNotFound(file.status())) return file.status();
    return absl::NotFoundError(absl::StrCat(path, ": expected this shard (", kIndexFile, " names it), found no file"));
  }
  for (const TensorEntry& entry : (*file)->tensors()) {
    auto [it, inserted] = tensors.emplace(entry.name, StoredTensor{&entry, *file});
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", json::QuoteForError(entry.name),
                                                     "\": expected in one shard, found in ", it->second.file->path(),
                                                     " too"));
    }
    if (listed != nullptr) {
      auto in_index = listed->find(entry.name);
      if (in_index == listed->end() || in_index->second != shard) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": tensor \"", json::QuoteForError(entry.name), "\": expected ",
                         in_index == listed->end() ? "an entry in the weight_map"
                                                   : absl::StrCat("in ", in_index->second, " (weight_map)"),
                         ", found in ", shard));
      }
    }
    stored_bytes += static_cast<int64_t>(entry.bytes.size());
  }
  files.push_back(*std::move(file));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WeightStore> WeightStore::Open(const std::string& directory, models::FileAccess access) {
  auto contents = std::make_shared<Contents>();
  contents->directory = directory;
  const std::string index_path = absl::StrCat(directory, "/", kIndexFile);
  const std::string single_path = absl::StrCat(directory, "/", kSingleFile);
  if (Exists(index_path)) {
    auto text = base::ReadFile(index_path, kMaxIndexBytes);
    if (!text.ok()) return text.status();
    auto listed = ParseWeightIndex(*text, index_path);
    if (!listed.ok()) return listed.status();
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : *listed) shards.insert(shard);
    for (const std::string& shard : shards) {
      absl::Status status = AddFile(absl::StrCat(directory, "/", shard), access, shard, &*listed, contents->files,
                                    contents->tensors, contents->stored_bytes);
      if (!status.ok()) return status;
    }
    for (const auto& [tensor, shard] : *listed) {
      if (contents->tensors.contains(tensor)) continue;
      return absl::InvalidArgumentError(absl::StrCat(directory, "/", shard, ": tensor \"", json::QuoteForError(tensor),
                                                     "\": expected in this shard (", kIndexFile, "), found nowhere"));
    }
  } else if (Exists(single_path)) {
    absl::Status status =
        AddFile(single_path, access, kSingleFile, nullptr, contents->files, contents->tensors, contents->stored_bytes);
    if (!status.ok()) return status;
  } else {
    return NoWeights(directory);
  }
  return WeightStore(std::move(contents));
}

bool WeightStore::HasWeights(const std::string& directory) {
  return Exists(absl::StrCat(directory, "/", kIndexFile)) || Exists(absl::StrCat(directory, "/", kSingleFile));
}

WeightStore WeightStore::Dummy(std::vector<TensorSpec> specs, uint64_t seed) {
  auto contents = std::make_shared<Contents>();
  contents->dummy = true;
  contents->seed = seed;
  for (TensorSpec& spec : specs) {
    std::string name = spec.name;
    contents->specs.emplace(std::move(name), std::move(spec));
  }
  return WeightStore(std::move(contents));
}

WeightStore WeightStore::With(OtherTensorName other_name) const {
  WeightStore store = *this;
  store.other_name_ = other_name;
  return store;
}

bool WeightStore::is_dummy() const { return contents_->dummy; }
const std::string& WeightStore::directory() const { return contents_->directory; }
uint64_t WeightStore::dummy_seed() const { return contents_->seed; }
int64_t WeightStore::stored_bytes() const { return contents_->stored_bytes; }

const std::vector<std::shared_ptr<const SafetensorsFile>>& WeightStore::files() const { return contents_->files; }

int64_t WeightStore::tensor_count() const {
  return static_cast<int64_t>(contents_->dummy ? contents_->specs.size() : contents_->tensors.size());
}

void WeightStore::Prefetch() const {
  for (const auto& file : contents_->files) file->Prefetch();
}

absl::Status WeightStore::CheckIntact() const {
  for (const auto& file : contents_->files) {
    if (absl::Status status = file->CheckIntact(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredTensor> WeightStore::Get(absl::string_view name) const {
  auto it = contents_->tensors.find(name);
  if (it == contents_->tensors.end() && other_name_ != nullptr) it = contents_->tensors.find(other_name_(name));
  if (it != contents_->tensors.end()) return it->second;
  return absl::NotFoundError(
      absl::StrCat(contents_->directory, ": tensor \"", json::QuoteForError(name), "\" is missing"));
}

bool WeightStore::Contains(absl::string_view name) const {
  return contents_->dummy ? contents_->specs.contains(name) : Get(name).ok();
}

std::vector<std::string> WeightStore::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, spec] : contents_->specs) names.push_back(name);
  for (const auto& [name, tensor] : contents_->tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::vector<int64_t>> WeightStore::Shape(absl::string_view name) const {
  if (const TensorSpec* spec = DummySpec(name)) return spec->shape;
  auto stored = Get(name);
  if (!stored.ok()) return stored.status();
  return stored->entry->shape;
}

const TensorSpec* WeightStore::DummySpec(absl::string_view name) const {
  auto it = contents_->specs.find(name);
  return it == contents_->specs.end() ? nullptr : &it->second;
}

}  // namespace hadal::checkpoint
