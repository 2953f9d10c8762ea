// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "models/blocks/context.h"
#include "models/blocks/mla_plan.h"
#include "models/blocks/network.h"
#include "models/checkpoint/weights.h"
#include "models/config/config.h"

namespace hadal::models {

struct FamilyOptions {
  int64_t max_model_len = 0;          // tokens; the rope tables cover them
  MlaForm mla_form = MlaForm::kAuto;  // families with latent attention
};

// What a family is to the registry: the way to load its network, and what no network says about a checkpoint.
// models/config/families.def lists the families; those that share a network differ in what their configuration says.
struct Family {
  std::string name;

  // The network with its weights; InvalidArgument for a configuration that the family does not offer. Parameters,
  // caches and tables are declared in here and nowhere else: NetworkOutline runs it without values to learn them.
  absl::StatusOr<std::unique_ptr<Network>> (*load)(const LoadContext& context, const FamilyOptions& options) = nullptr;

  // Another name that a checkpoint may have a tensor under; null: none.
  checkpoint::OtherTensorName other_tensor_name = nullptr;

  // Layers for multi-token prediction, which are counted and ignored. How their tensors are told from others, what
  // makes a configuration of one layer that of such a layer (null: nothing), and whether one comes with copies of
  // embedding and head.
  checkpoint::MtpTensorTest is_mtp_tensor = checkpoint::IsMtpLayerTensor;
  void (*make_mtp_block)(config::ModelConfig& config) = nullptr;
  bool mtp_has_embedding = true;
};

// The networks of families.def; each is defined in the file that is called after it.
#define HADAL_FAMILY(name, architecture, model_type, parser, dense_mlp, network) Family network##Family(std::string);
#include "models/config/families.def"
#undef HADAL_FAMILY

// The attention that a network computes; InvalidArgument when the configuration has another.
template <typename Attention>
absl::StatusOr<const Attention*> AttentionOf(const config::ModelConfig& config) {
  if (const auto* attention = std::get_if<Attention>(&config.attention)) return attention;
  return absl::InvalidArgumentError(
      absl::StrCat(config.family, ": the configuration has another attention than the family's network"));
}

}  // namespace hadal::models
