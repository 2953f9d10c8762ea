// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/models/dummy_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "models/checkpoint/tensor_spec.h"
#include "models/config/config.h"
#include "models/families/family.h"
#include "models/families/network_outline.h"
#include "models/registry.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using checkpoint::TensorRole;
using checkpoint::TensorSpec;

constexpr int64_t kShardBytes = int64_t{1} << 30;
constexpr size_t kBlockValues = size_t{1} << 20;

std::string WithLayers(const std::string& text, int64_t layers) {
  return std::regex_replace(text, std::regex(R"("num_hidden_layers"\s*:\s*\d+)"),
                            absl::StrCat("\"num_hidden_layers\": ", layers));
}

absl::StatusOr<std::vector<TensorSpec>> TensorsOf(const std::string& config_text) {
  HADAL_ASSIGN_OR_RETURN(const config::ModelConfig config, config::ParseModelConfig(config_text));
  HADAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(config.architecture));
  HADAL_ASSIGN_OR_RETURN(const auto outline, NetworkOutline::Create(*family, config, kernels::DType::kBF16));
  std::vector<TensorSpec> tensors;
  for (const TensorSpec& spec : outline->tensors()) {
    if (spec.role == TensorRole::kExpertTable) {
      return absl::InvalidArgumentError(absl::StrCat(spec.name, ": a table of experts is not written"));
    }
    // A tied embedding is stored once.
    const bool twice = std::any_of(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == spec.name; });
    if (!spec.optional && !twice) tensors.push_back(spec);
  }
  return tensors;
}

int64_t BytesOf(const std::vector<TensorSpec>& tensors) {
  int64_t bytes = 0;
  for (const TensorSpec& spec : tensors) bytes += 2 * spec.elements();
  return bytes;
}

// As wide as a layer's inputs ask for, so that nothing overflows on the way; norms are 1.
std::vector<uint16_t> Values(const TensorSpec& spec, size_t count) {
  constexpr uint16_t kOne = 0x3F80;
  if (spec.role == TensorRole::kNorm) return std::vector<uint16_t>(count, kOne);
  std::vector<uint16_t> values(count);
  uint32_t state = 1;
  for (uint16_t& value : values) {
    state = state * 1664525 + 1013904223;
    value =
        static_cast<uint16_t>((state >> 16 & 0x8000) | (0x3C00 + (state >> 8 & 0xFF)));  // 1/128 to 1/32, both signs
  }
  return values;
}

absl::Status WriteShard(const std::string& path, const std::vector<TensorSpec>& tensors) {
  std::vector<std::string> entries;
  int64_t offset = 0;
  for (const TensorSpec& spec : tensors) {
    const int64_t end = offset + 2 * spec.elements();
    entries.push_back(absl::StrFormat(R"("%s":{"dtype":"BF16","shape":[%s],"data_offsets":[%d,%d]})", spec.name,
                                      absl::StrJoin(spec.shape, ","), offset, end));
    offset = end;
  }
  std::string header = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  header.resize((header.size() + 63) / 64 * 64 + 56, ' ');  // the data is aligned as published files have it
  const uint64_t length = header.size();
  std::ofstream out(path, std::ios::binary);
  char bytes[8];
  std::memcpy(bytes, &length, 8);
  out.write(bytes, 8) << header;
  for (const TensorSpec& spec : tensors) {
    auto left = static_cast<size_t>(spec.elements());
    const std::vector<uint16_t> block = Values(spec, std::min(left, kBlockValues));
    for (; left > 0 && out.good(); left -= std::min(left, block.size())) {
      out.write(reinterpret_cast<const char*>(block.data()),
                static_cast<std::streamsize>(2 * std::min(left, block.size())));
    }
  }
  if (!out.flush().good()) return absl::ResourceExhaustedError(absl::StrCat(path, ": cannot be written"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DummyCheckpoint> WriteDummyCheckpoint(const std::string& from, const std::string& to,
                                                     int64_t most_bytes) {
  std::ifstream file(from + "/config.json");
  if (!file) return absl::NotFoundError(absl::StrCat(from, "/config.json: cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  HADAL_ASSIGN_OR_RETURN(const config::ModelConfig config, config::ParseModelConfig(text));
  DummyCheckpoint written;
  written.layers = written.of_layers = config.layers;
  std::string config_text = text;
  HADAL_ASSIGN_OR_RETURN(std::vector<TensorSpec> tensors, TensorsOf(config_text));
  while (BytesOf(tensors) > most_bytes) {
    if (written.layers == 1) {
      return absl::InvalidArgumentError(absl::StrCat(from, ": one layer takes ", BytesOf(tensors),
                                                     " bytes with embedding and head, limit ", most_bytes));
    }
    config_text = WithLayers(text, --written.layers);
    HADAL_ASSIGN_OR_RETURN(tensors, TensorsOf(config_text));
  }
  std::error_code error;
  std::filesystem::create_directories(to, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(to, ": ", error.message()));
  std::vector<std::vector<TensorSpec>> shards;
  int64_t bytes = 0;
  for (TensorSpec& spec : tensors) {
    if (shards.empty() || bytes + 2 * spec.elements() > kShardBytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += 2 * spec.elements();
    shards.back().push_back(std::move(spec));
  }
  std::vector<std::string> index;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
    written.files.push_back(absl::StrCat(to, "/", name));
    HADAL_RETURN_IF_ERROR(WriteShard(written.files.back(), shards[i]));
    written.bytes += BytesOf(shards[i]);
    for (const TensorSpec& spec : shards[i]) index.push_back(absl::StrCat("\"", spec.name, "\": \"", name, "\""));
  }
  std::ofstream(to + "/model.safetensors.index.json") << R"({"weight_map": {)" << absl::StrJoin(index, ",\n") << "}}\n";
  std::ofstream(to + "/config.json") << config_text;
  return written;
}

}  // namespace hadal::models
