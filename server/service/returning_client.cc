// SPDX-License-Identifier: Apache-2.0
#include "server/service/returning_client.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::service {

using admission::KeyQuality;

void NoteReturnHeaders(const ReturnHeaders& headers, CallInfo* info) {
  if (!headers.idempotency_key.empty()) {
    info->idempotency_hash = std::max<uint64_t>(1, std::hash<std::string_view>()(headers.idempotency_key));
  }
  int32_t attempts = 0;
  const char* const end = headers.attempts.data() + headers.attempts.size();
  const auto parsed = std::from_chars(headers.attempts.data(), end, attempts);
  if (parsed.ec == std::errc() && parsed.ptr == end && attempts >= 0) info->attempts = attempts;
  info->ticket = std::string(headers.ticket);
  info->caller.gateway = info->caller.gateway || headers.client == "gateway";
}

uint64_t TicketOwner(const CallInfo& info) {
  return info.caller.tenant.empty() ? 0 : std::max<uint64_t>(1, std::hash<std::string>()(info.caller.tenant));
}

admission::RetryCaller RetryCallerOf(const CallInfo& info, int64_t body_bytes) {
  admission::RetryCaller caller;
  caller.attempt = std::max(info.attempts, 0);
  caller.gateway = info.caller.gateway;
  caller.promise = info.promise;
  caller.owner = TicketOwner(info);
  const std::string sender = SenderOf(info);
  if (info.idempotency_hash != 0) {
    caller.quality = KeyQuality::kOwn;
    caller.key = std::hash<std::string>()(absl::StrCat(sender, "|", info.idempotency_hash));
    return caller;
  }
  const int64_t length = info.protocol == Protocol::kHttp ? body_bytes : 0;
  caller.key = std::hash<std::string>()(absl::StrCat(sender, "|", base::View(info.route), "|", length));
  caller.quality = info.attempts < 0    ? KeyQuality::kShared
                   : info.attempts == 0 ? KeyQuality::kFirst
                                        : KeyQuality::kRetry;
  return caller;
}

}  // namespace hadal::service
