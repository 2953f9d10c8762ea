// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_types.h"

#include <sys/random.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/base/check.h"
#include "server/base/strings.h"

namespace hadal::batches {

std::string_view StatusName(BatchStatus status) {
  static constexpr std::string_view kNames[kBatchStatuses] = {"validating", "in_progress", "finalizing", "completed",
                                                              "failed",     "expired",     "cancelling", "cancelled"};
  return kNames[static_cast<size_t>(status)];
}

bool HasEnded(BatchStatus status) {
  return status == BatchStatus::kCompleted || status == BatchStatus::kFailed || status == BatchStatus::kExpired ||
         status == BatchStatus::kCancelled;
}

std::string NewId(std::string_view prefix) {
  char bytes[12];
  HADAL_CHECK(::getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes)) << "the kernel gives no random bytes";
  return absl::StrCat(base::View(prefix), absl::BytesToHexString(absl::string_view(bytes, sizeof(bytes))));
}

}  // namespace hadal::batches
