// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {

void CheckMoeFields(FieldReader& fields, const ModelConfig& config, const MoeConfig& moe, int64_t min_group_experts) {
  if (moe.routed_experts % moe.groups != 0) {
    fields.Fail("n_group", absl::StrCat("a divisor of n_routed_experts, ", moe.routed_experts),
                absl::StrCat(moe.groups));
    return;
  }
  const int64_t group_experts = moe.routed_experts / moe.groups;
  if (group_experts < min_group_experts) {
    fields.Fail("n_group",
                absl::StrCat("groups of at least ", min_group_experts, " experts (a group counts by its ",
                             min_group_experts, " best)"),
                absl::StrCat(moe.groups, " groups of ", moe.routed_experts, " experts"));
  }
  if (moe.groups_per_token > moe.groups) {
    fields.Fail("topk_group", absl::StrCat("at most n_group, ", moe.groups), absl::StrCat(moe.groups_per_token));
  }
  if (moe.experts_per_token > moe.groups_per_token * group_experts) {
    fields.Fail("num_experts_per_tok",
                absl::StrCat("at most the ", moe.groups_per_token * group_experts, " experts of topk_group groups"),
                absl::StrCat(moe.experts_per_token));
  }
  if (moe.routed_experts * config.layers > kMaxExpertsInAllLayers) {
    fields.Fail("n_routed_experts", absl::StrCat("at most ", kMaxExpertsInAllLayers, " experts over all layers"),
                absl::StrCat(moe.routed_experts, " in each of ", config.layers, " layers"));
  }
}

}  // namespace hadal::config
