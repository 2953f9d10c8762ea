// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/call_context.h"

#include <atomic>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"
#include "server/service/api_keys.h"

namespace hadal::rpc {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;

std::string_view Find(const grpc::CallbackServerContext& context, const char* key) {
  const auto it = context.client_metadata().find(key);
  return it == context.client_metadata().end() ? std::string_view()
                                               : std::string_view(it->second.data(), it->second.size());
}

bool SaneRequestId(std::string_view id) {
  if (id.empty() || id.size() > kMaxRequestIdBytes) return false;
  for (const char c : id) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '_' && c != '.' && c != ':') return false;
  }
  return true;
}

}  // namespace

std::string NewRequestId() {
  static const uint64_t start = std::random_device{}() | (uint64_t{std::random_device{}()} << 32);
  static std::atomic<uint64_t> count{0};
  // A step by an odd constant visits every 64-bit value once.
  return absl::StrFormat("req-%016x", start + count.fetch_add(1) * 0x9e3779b97f4a7c15u);
}

absl::Status ReadMetadata(const grpc::CallbackServerContext& context, const base::Clock& clock, CallMetadata* out) {
  out->arrival = clock.Now();
  out->authorization = Find(context, "authorization");
  const std::string_view id = Find(context, "x-request-id");
  out->request_id = SaneRequestId(id) ? std::string(id) : NewRequestId();
  const auto deadline = context.deadline();
  if (deadline != std::chrono::system_clock::time_point::max()) {
    out->deadline = out->arrival + (absl::FromChrono(deadline) - absl::Now());
  }
  const std::string_view priority = Find(context, "x-hadal-priority");
  if (!priority.empty()) {
    out->priority = service::ParsePriority(priority);
    if (!out->priority.has_value()) {
      return request::MakeError(
          request::Reason::kInvalidRequest,
          absl::StrCat("x-hadal-priority: expected high, normal, low or batch, found '", base::View(priority), "'"),
          "x-hadal-priority");
    }
  }
  return absl::OkStatus();
}

}  // namespace hadal::rpc
