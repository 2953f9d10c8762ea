// SPDX-License-Identifier: Apache-2.0
#include "server/service/rendered_call.h"

#include <utility>

#include "server/service/generate_service.h"

namespace hadal::service {
namespace {

absl::StatusOr<RenderedCall> Rendered(absl::StatusOr<std::unique_ptr<PreparedCall>> prepared) {
  if (!prepared.ok()) return prepared.status();
  PreparedCall& call = **prepared;
  if (absl::Status status = CheckCall(call); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<request::Request>> request = BuildRequest(call, /*stream=*/nullptr);
  if (!request.ok()) return request.status();
  return RenderedCall{*std::move(request), std::move(call.options), std::move(call.model)};
}

}  // namespace

absl::StatusOr<RenderedCall> GenerateService::Render(ChatCall call) {
  return Rendered(PrepareChat(std::move(call), Grammars::kLeaveOut));
}

absl::StatusOr<RenderedCall> GenerateService::Render(GenerateCall call) {
  return Rendered(PrepareGenerate(std::move(call), Grammars::kLeaveOut));
}

}  // namespace hadal::service
