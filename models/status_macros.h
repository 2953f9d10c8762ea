// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The two early returns of fallible code, for .cc files of models/ where a forward pass is a list of fallible ops.

// Returns the status of `expr` from the calling function unless it is OK.
#define HADAL_RETURN_IF_ERROR(expr)                                                    \
  do {                                                                                 \
    if (::absl::Status hadal_status = (expr); !hadal_status.ok()) return hadal_status; \
  } while (false)

#define HADAL_CONCAT_INNER(a, b) a##b
#define HADAL_CONCAT(a, b) HADAL_CONCAT_INNER(a, b)

// HADAL_ASSIGN_OR_RETURN(auto x, F()): declares or assigns x from a StatusOr, or returns its error.
#define HADAL_ASSIGN_OR_RETURN(target, expr) \
  HADAL_ASSIGN_OR_RETURN_INNER(HADAL_CONCAT(hadal_statusor_, __LINE__), target, expr)
#define HADAL_ASSIGN_OR_RETURN_INNER(result, target, expr) \
  auto result = (expr);                                    \
  if (!result.ok()) return result.status();                \
  target = *std::move(result)
