// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/tensor_names.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace hadal::models {
namespace {

// Parts of a stage of multi-token prediction: the first word of what follows "mtp.STAGE.".
constexpr absl::string_view kMtpParts[] = {
    "attn",        "attn_norm", "confidence_head", "e_proj",       "embed",       "enorm",
    "ffn",         "ffn_norm",  "h_proj",          "hc_attn_base", "hc_attn_fn",  "hc_attn_scale",
    "hc_ffn_base", "hc_ffn_fn", "hc_ffn_scale",    "hc_head_base", "hc_head_fn",  "hc_head_scale",
    "head",        "hnorm",     "main_norm",       "main_proj",    "markov_head", "norm"};
constexpr int64_t kMaxMtpStages = 64;

}  // namespace

bool IsV4MtpTensor(const config::ModelConfig&, absl::string_view name) {
  if (!absl::ConsumePrefix(&name, "mtp.")) return false;
  size_t dot = name.find('.');
  int64_t stage = 0;
  if (dot == name.npos || !absl::SimpleAtoi(name.substr(0, dot), &stage)) return false;
  if (stage < 0 || stage >= kMaxMtpStages) return false;
  name.remove_prefix(dot + 1);
  const absl::string_view part = name.substr(0, name.find('.'));
  return std::find(std::begin(kMtpParts), std::end(kMtpParts), part) != std::end(kMtpParts);
}

std::string V4SavedName(absl::string_view name) {
  if (name == "head.weight") return std::string(name);
  if (name == "embed.weight") return "model.embed_tokens.weight";
  if (absl::ConsumePrefix(&name, "hc_head_")) return absl::StrCat("model.hc_head.hc_", name);
  if (absl::ConsumeSuffix(&name, ".attn.kv_norm.weight")) return absl::StrCat("model.", name, ".attn.norm.weight");
  return absl::StrCat("model.", name);
}

}  // namespace hadal::models
