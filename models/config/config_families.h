// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/config/config.h"
#include "models/json/field_reader.h"

namespace hadal::config {

using json::FieldReader;
using json::QuoteForError;

// A row of families.def, as the parser of config.json sees it.
struct FamilyParser {
  const char* architecture;  // config.json's architectures[0]
  const char* family;        // config.json's model_type
  // Fills what the family defines, starting from the common fields. Errors go to the reader.
  void (*parse)(FieldReader& fields, ModelConfig& config);
  bool dense_mlp;  // intermediate_size is required
};

#define HADAL_FAMILY(name, architecture, model_type, parser, ...) \
  void Parse##parser##Fields(FieldReader& fields, ModelConfig& config);
#include "models/config/families.def"
#undef HADAL_FAMILY

// Limits of what is accepted: far above any released model, low enough that no product overflows.
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxHiddenSize = int64_t{1} << 20;
inline constexpr int64_t kMaxIntermediateSize = int64_t{1} << 22;
inline constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
inline constexpr int64_t kMaxHeads = int64_t{1} << 12;
inline constexpr int64_t kMaxHeadDim = int64_t{1} << 13;
inline constexpr int64_t kMaxLoraRank = int64_t{1} << 16;
inline constexpr int64_t kMaxExperts = 4096;
inline constexpr int64_t kMaxExpertsInAllLayers = int64_t{1} << 17;
inline constexpr int64_t kMaxPositions = int64_t{1} << 24;

inline constexpr int64_t kMaxMtpLayers = 64;
inline constexpr double kMaxRopeTheta = 1e12;

// quantization_config and expert_dtype.
void ParseQuantization(FieldReader& fields, ModelConfig& config);
// Fields that families share: attention with its rotation. What they return is the new config.attention.
GqaConfig& ParseGqaFields(FieldReader& fields, ModelConfig& config);
MlaConfig& ParseMlaFields(FieldReader& fields, ModelConfig& config);
// Refuses groups that do not divide the experts or cannot hold the chosen ones, and more experts over all layers than
// any checkpoint has. `min_group_experts`: how many a group's rank is made of.
void CheckMoeFields(FieldReader& fields, const ModelConfig& config, const MoeConfig& moe, int64_t min_group_experts);
// rope_theta with rope_scaling {type | rope_type, ...}, or rope_parameters; `dim` is the rotated width of a head.
kernels::RopeConfig ParseRopeFields(FieldReader& fields, int64_t dim, ModelConfig& config);
// The kind of scaling and its numbers from an object with rope_type (or type). `rope` has dim and theta. Fields of the
// object without effect become warnings. `original_positions` stands for a missing original_max_position_embeddings;
// 0: max_position_embeddings does.
void ParseRopeScaling(FieldReader& scaling, kernels::RopeConfig& rope, ModelConfig& config,
                      int64_t original_positions = 0);
// Adopts what kernels::CheckRopeConfig finds.
void CheckRope(FieldReader& fields, const kernels::RopeConfig& rope);

}  // namespace hadal::config
