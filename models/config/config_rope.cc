// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {
namespace {

using kernels::RopeConfig;
using kernels::RopeScaling;

constexpr double kMaxFactor = 1e6;
constexpr char kOriginalKey[] = "original_max_position_embeddings";

void ParseYarn(FieldReader& scaling, RopeConfig& rope, int64_t max_positions, int64_t original_positions) {
  rope.original_max_positions = scaling.IntOr(kOriginalKey, original_positions, 1, kMaxPositions);
  const double implied = static_cast<double>(max_positions) / static_cast<double>(rope.original_max_positions);
  rope.factor = scaling.DoubleOr("factor", implied < 1.0 ? 1.0 : implied, 1.0, kMaxFactor);
  // Like transformers: 0 stands for the default.
  rope.beta_fast = scaling.DoubleOr("beta_fast", 32.0, 0.0, kMaxFactor);
  if (rope.beta_fast == 0.0) rope.beta_fast = 32.0;
  rope.beta_slow = scaling.DoubleOr("beta_slow", 1.0, 0.0, kMaxFactor);
  if (rope.beta_slow == 0.0) rope.beta_slow = 1.0;
  if (rope.beta_fast < rope.beta_slow) {
    scaling.Fail("beta_fast", absl::StrCat("at least beta_slow, ", rope.beta_slow), absl::StrCat(rope.beta_fast));
  }
  rope.truncate = scaling.BoolOr("truncate", true);
  rope.mscale = scaling.DoubleOr("mscale", 0.0, 0.0, 1e3);
  rope.attention_factor = scaling.DoubleOr("attention_factor", 0.0, 1e-6, 1e3);
  rope.attn_factor = scaling.DoubleOr("attn_factor", 1.0, 1e-6, 1e3);
  if (scaling.Has("attention_factor") && scaling.Has("attn_factor")) {
    scaling.Fail("attn_factor", "nothing beside attention_factor, which already is the whole factor",
                 absl::StrCat(rope.attn_factor));
  }
}

void ParseLlama3(FieldReader& scaling, RopeConfig& rope, int64_t original_positions) {
  rope.original_max_positions = scaling.IntOr(kOriginalKey, original_positions, 1, kMaxPositions);
  rope.factor = scaling.Double("factor", 1.0, kMaxFactor);
  rope.low_freq_factor = scaling.Double("low_freq_factor", 1e-3, kMaxFactor);
  rope.high_freq_factor = scaling.Double("high_freq_factor", 1e-3, kMaxFactor);
  if (scaling.status().ok() && rope.high_freq_factor <= rope.low_freq_factor) {
    scaling.Fail("high_freq_factor", absl::StrCat("more than low_freq_factor, ", rope.low_freq_factor),
                 absl::StrCat(rope.high_freq_factor));
  }
}

// One rotation per kind of layer, {"full_attention": {...}}, as transformers 5 can write it.
void RefuseNested(FieldReader& scaling) {
  for (simdjson::dom::key_value_pair field : scaling.object()) {
    if (field.value.type() != simdjson::dom::element_type::OBJECT) continue;
    scaling.Unsupported(QuoteForError(json::ToAbsl(field.key)),
                        "hadal offers one rotation for all layers, found an object");
    return;
  }
}

void WarnUnused(const FieldReader& scaling, std::vector<std::string>& warnings) {
  static constexpr std::array<absl::string_view, 16> kKnown = {"type",
                                                               "rope_type",
                                                               "rope_theta",
                                                               "factor",
                                                               "original_max_position_embeddings",
                                                               "beta_fast",
                                                               "beta_slow",
                                                               "truncate",
                                                               "mscale",
                                                               "mscale_all_dim",
                                                               "attention_factor",
                                                               "attn_factor",
                                                               "low_freq_factor",
                                                               "high_freq_factor",
                                                               "partial_rotary_factor",
                                                               "finetuned"};
  constexpr size_t kMaxWarnings = 16;
  for (simdjson::dom::key_value_pair field : scaling.object()) {
    if (warnings.size() >= kMaxWarnings) return;
    const absl::string_view key = json::ToAbsl(field.key);
    if (!absl::c_linear_search(kKnown, key)) {
      warnings.push_back(absl::StrCat(scaling.PathOf(QuoteForError(key)), " has no effect"));
    }
  }
}

}  // namespace

void ParseRopeScaling(FieldReader& scaling, RopeConfig& rope, ModelConfig& config, int64_t original_positions) {
  if (original_positions == 0) original_positions = config.max_position_embeddings;
  const char* key = scaling.Has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.OptionalString(key).value_or("default");
  if (type == "default") {
    rope.scaling = RopeScaling::kNone;
  } else if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = scaling.Double("factor", 1.0, kMaxFactor);
  } else if (type == "dynamic") {
    rope.scaling = RopeScaling::kDynamic;
    rope.factor = scaling.Double("factor", 1.0, kMaxFactor);
    rope.original_max_positions = config.max_position_embeddings;
    if (rope.dim <= 2) scaling.Fail("rope_type", "a rotated width above 2 for dynamic", absl::StrCat(rope.dim));
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    ParseLlama3(scaling, rope, original_positions);
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    ParseYarn(scaling, rope, config.max_position_embeddings, original_positions);
  } else {
    scaling.Unsupported(key, absl::StrCat("hadal offers default, linear, dynamic, llama3 and yarn, found \"",
                                          QuoteForError(type), "\""));
  }
  if (rope.scaling != RopeScaling::kNone) rope.mscale_all_dim = scaling.DoubleOr("mscale_all_dim", 0.0, 0.0, 1e3);
  RefuseNested(scaling);
  WarnUnused(scaling, config.warnings);
}

void CheckRope(FieldReader& fields, const RopeConfig& rope) {
  if (!fields.status().ok()) return;
  if (rope.theta <= 1.0) return fields.Fail("rope_theta", "more than 1", absl::StrCat(rope.theta));
  if (absl::Status status = kernels::CheckRopeConfig(rope); !status.ok()) {
    fields.Adopt(absl::Status(status.code(), absl::StrCat(fields.PathOf("rope"), ": ", status.message())));
  }
}

RopeConfig ParseRopeFields(FieldReader& fields, int64_t dim, ModelConfig& config) {
  RopeConfig rope;
  rope.dim = dim;
  rope.theta = fields.DoubleOr("rope_theta", 10000.0, 1.0, kMaxRopeTheta);
  double partial = fields.DoubleOr("partial_rotary_factor", 1.0, 0.0, 1.0);

  // transformers lets a non-empty rope_scaling win over rope_parameters.
  const char* key = "rope_scaling";
  auto object = fields.OptionalObject(key);
  if (!object || object->Object()->size() == 0) object = fields.OptionalObject(key = "rope_parameters");
  if (object && fields.status().ok()) {
    FieldReader scaling(*object);
    rope.theta = scaling.DoubleOr("rope_theta", rope.theta, 1.0, kMaxRopeTheta);
    partial = scaling.DoubleOr("partial_rotary_factor", partial, 0.0, 1.0);
    // transformers 5 also reads this field next to rope_scaling, and lets it win in some families only: it is taken
    // when it stands alone, and two values that differ have no one meaning.
    const int64_t outer = fields.IntOr(kOriginalKey, 0, 1, kMaxPositions);
    ParseRopeScaling(scaling, rope, config, outer);
    const bool has_original = rope.scaling == RopeScaling::kYarn || rope.scaling == RopeScaling::kLlama3;
    if (outer != 0 && has_original && scaling.status().ok() && rope.original_max_positions != outer) {
      fields.Fail(kOriginalKey, absl::StrCat("the same as ", key, ".", kOriginalKey, ", ", rope.original_max_positions),
                  absl::StrCat(outer));
    }
    fields.Adopt(scaling.status());
  }
  if (fields.status().ok() && partial != 1.0) {
    fields.Unsupported("partial_rotary_factor", absl::StrCat("hadal rotates whole heads only, found ", partial));
  }
  CheckRope(fields, rope);
  return rope;
}

}  // namespace hadal::config
