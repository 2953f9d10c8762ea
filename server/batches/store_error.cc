// SPDX-License-Identifier: Apache-2.0
#include "server/batches/store_error.h"

#include <string>

#include "absl/time/time.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::batches {
namespace {

// Files and batches end at no time that could be foreseen.
constexpr absl::Duration kQuotaRetry = absl::Seconds(60);

}  // namespace

absl::Status ClientError(const absl::Status& status) {
  bool for_clients = false;
  status.ForEachPayload([&](absl::string_view, const absl::Cord&) { for_clients = true; });
  if (status.ok() || for_clients) return status;
  base::Log(base::LogLevel::kError, "batches", base::StdView(status.message()));
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    return request::MakeError(request::Reason::kStorageFull,
                              "the store of files and batches has no space left: delete files that are not needed");
  }
  return request::MakeError(request::Reason::kInternal, "the store of files and batches failed; the log says how");
}

absl::Status QuotaUsedUp(absl::string_view what) {
  return request::MakeRefusal(request::Reason::kTenantQuota, std::string(what), kQuotaRetry);
}

}  // namespace hadal::batches
