// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hadal::grammar {

// What one JSON Schema may hold. Checked before anything is compiled; each bounds time or memory of the compiler, or
// the time of a token mask. A schema over a limit is refused with the place, the limit and the value.
struct SchemaLimits {
  int64_t max_bytes = 64 << 10;
  int max_depth = 32;                // schemas inside schemas
  int max_schemas = 4096;            // objects that are schemas
  int max_properties = 1024;         // over all objects
  int max_optional_properties = 32;  // of one object: what may come next is all of them
  int max_enum_values = 1024;        // over all enums and consts
  int max_branches = 64;             // of one anyOf
  int max_references = 1024;
  int max_items = 4096;          // minItems, maxItems
  int max_pattern_bytes = 256;   // of one pattern
  int max_pattern_states = 384;  // characters of all patterns, repetitions written out; about 10 ms each to compile
  int max_multiple_of = 1000;    // over all multipleOf; about 1 ms each
  // minLength, maxLength, and patterns that have to be counted: where strings are JSON, where those of DSML's
  // parameters are text (without patterns), or nowhere.
  enum class Lengths : uint8_t { kJson, kDsml, kNone };
  Lengths string_lengths = Lengths::kJson;
};

}  // namespace hadal::grammar
