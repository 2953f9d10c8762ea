// SPDX-License-Identifier: Apache-2.0
//
// Every field of every published configuration (tests/data/configs), damaged in every way that its type allows: the
// configuration is refused and the error names the field. A published field that may hold anything is listed here as
// one without effect; a family whose parser forgets to look at a field is found by that.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "models/config/config.h"

namespace hadal::config {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

// They steer training, caching in Python or layouts of other engines.
const std::set<std::string> kWithoutEffect = {"attention_dropout", "aux_loss_alpha", "ep_size",  "initializer_range",
                                              "pretraining_tp",    "seq_aux",        "use_cache"};

std::filesystem::path ConfigFolder() {
  const char* root = std::getenv("HADAL_SOURCE_DIR");
  return std::filesystem::path(root ? root : ".") / "tests/data/configs";
}

json ReadConfig(const std::string& checkpoint) {
  std::ifstream file(ConfigFolder() / checkpoint / "config.json");
  return json::parse(file);
}

// The published configurations of architectures that are known.
std::vector<std::string> Checkpoints() {
  const std::vector<std::string> known = KnownArchitectures();
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(ConfigFolder())) {
    const std::string name = entry.path().filename().string();
    const std::string architecture = ReadConfig(name)["architectures"][0];
    if (std::find(known.begin(), known.end(), architecture) != known.end()) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Values that no field of such a value may hold.
std::vector<json> Damages(const json& value) {
  const json object = {{"wrong", true}};
  if (value.is_boolean()) return {0, "true", object};
  if (value.is_number()) return {"1", true, object, -1, 1e300};
  if (value.is_string()) return {7, "unheard_of", object};
  if (value.is_array()) return {object, json::array({object})};
  if (value.is_object()) return {7, "x", json::array()};
  return {"x", json::array({object})};  // null: a number or an object that is not there
}

class MalformedConfigTest : public ::testing::TestWithParam<std::string> {
 protected:
  static absl::Status Parse(const json& config) { return ParseModelConfig(config.dump(), "dir/config.json").status(); }

  // Damages what `pointer` points to. `path` is its name in errors.
  static void ExpectRefused(const json& config, const json::json_pointer& pointer, const std::string& path) {
    for (const json& damage : Damages(config[pointer])) {
      json damaged = config;
      damaged[pointer] = damage;
      const absl::Status status = Parse(damaged);
      EXPECT_FALSE(status.ok()) << path << " = " << damage << " was accepted";
      EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("dir/config.json: ", path, ":"))) << damage;
    }
  }
};

TEST_P(MalformedConfigTest, EveryFieldIsCheckedAndNamed) {
  const json config = ReadConfig(GetParam());
  ASSERT_TRUE(Parse(config).ok()) << Parse(config);
  for (const auto& [key, value] : config.items()) {
    if (kWithoutEffect.count(key)) continue;
    const json::json_pointer pointer("/" + key);
    ExpectRefused(config, pointer, key);
    if (!value.is_object()) continue;
    for (const auto& [inner, unused] : value.items()) {
      ExpectRefused(config, pointer / inner, absl::StrCat(key, ".", inner));
    }
  }
}

// Fields that must be there, by architecture: a missing one is refused by its name, all others have a documented
// default.
std::vector<std::string> RequiredFields(const std::string& architecture) {
  std::vector<std::string> fields = {"hidden_size", "max_position_embeddings", "num_attention_heads",
                                     "num_hidden_layers", "vocab_size"};
  const auto add = [&fields](std::initializer_list<const char*> more) {
    fields.insert(fields.end(), more.begin(), more.end());
  };
  if (architecture != "DeepseekV4ForCausalLM") add({"intermediate_size"});
  if (architecture == "Qwen3ForCausalLM") add({"head_dim"});
  if (architecture == "DeepseekForCausalLM") add({"moe_intermediate_size", "num_experts_per_tok"});
  if (absl::StartsWith(architecture, "DeepseekV2") || absl::StartsWith(architecture, "DeepseekV3")) {
    add({"kv_lora_rank", "moe_intermediate_size", "n_routed_experts", "q_lora_rank", "qk_nope_head_dim",
         "qk_rope_head_dim", "v_head_dim"});
  }
  if (architecture == "DeepseekV2ForCausalLM") add({"n_shared_experts", "num_experts_per_tok"});
  if (architecture == "DeepseekV32ForCausalLM") add({"index_head_dim", "index_n_heads", "index_topk"});
  if (architecture == "DeepseekV4ForCausalLM") {
    add({"compress_ratios",
         "compress_rope_theta",
         "hc_eps",
         "hc_mult",
         "hc_sinkhorn_iters",
         "head_dim",
         "index_head_dim",
         "index_n_heads",
         "index_topk",
         "moe_intermediate_size",
         "n_routed_experts",
         "num_experts_per_tok",
         "num_hash_layers",
         "o_groups",
         "o_lora_rank",
         "q_lora_rank",
         "qk_rope_head_dim",
         "rope_theta",
         "routed_scaling_factor",
         "sliding_window",
         "swiglu_limit",
         "quantization_config"});
  }
  return fields;
}

TEST_P(MalformedConfigTest, MissingFieldsAreNamed) {
  const json config = ReadConfig(GetParam());
  std::vector<std::string> required = RequiredFields(config["architectures"][0]);
  if (config.value("topk_method", "") == "group_limited_greedy") {
    required.push_back("n_group");
    required.push_back("topk_group");
  }
  std::vector<std::string> refused;
  for (const auto& [key, unused] : config.items()) {
    json damaged = config;
    damaged.erase(key);
    const absl::Status status = Parse(damaged);
    if (status.ok()) continue;
    refused.push_back(key);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("dir/config.json: ", key, ":")));
  }
  EXPECT_THAT(refused, UnorderedElementsAreArray(required));
}

INSTANTIATE_TEST_SUITE_P(Published, MalformedConfigTest, ::testing::ValuesIn(Checkpoints()), [](const auto& info) {
  std::string name;
  for (char c : info.param) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

}  // namespace
}  // namespace hadal::config
