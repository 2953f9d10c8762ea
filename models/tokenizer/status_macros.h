// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"

// For .cc files of this folder only.
#define HADAL_TOKENIZER_RETURN_IF_ERROR(expression)                      \
  do {                                                                   \
    if (absl::Status status = (expression); !status.ok()) return status; \
  } while (false)

#define HADAL_TOKENIZER_CONCAT_INNER(a, b) a##b
#define HADAL_TOKENIZER_CONCAT(a, b) HADAL_TOKENIZER_CONCAT_INNER(a, b)
// Declares or assigns `target` from a StatusOr, or returns its error.
#define HADAL_TOKENIZER_ASSIGN(target, expression) \
  HADAL_TOKENIZER_ASSIGN_INNER(HADAL_TOKENIZER_CONCAT(status_or_, __LINE__), target, expression)
#define HADAL_TOKENIZER_ASSIGN_INNER(temporary, target, expression) \
  auto temporary = (expression);                                    \
  if (!temporary.ok()) return temporary.status();                   \
  target = *std::move(temporary)
