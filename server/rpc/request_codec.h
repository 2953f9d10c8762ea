// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hadal/v1/inference.pb.h"
#include "server/service/active_call.h"
#include "server/service/call_pipeline.h"
#include "server/service/calls.h"
#include "server/service/generate_service.h"

namespace hadal::rpc {

// Protobuf to the service's plain structs and back. Decoding only translates; ranges and limits are the service's.
// What comes from the call itself (request id, tenant, arrival, deadline, class cap) is filled in by the caller.

// The bytes of a ChatRequest or GenerateRequest as a request of one call; for StreamingCall. INVALID_REQUEST when they
// are no such message. `priority_in_metadata`: the message's own class does not count.
absl::StatusOr<service::DecodedRequest> DecodeChatMessage(const grpc::ByteBuffer& message, bool priority_in_metadata);
absl::StatusOr<service::DecodedRequest> DecodeGenerateMessage(const grpc::ByteBuffer& message,
                                                              bool priority_in_metadata);

absl::StatusOr<service::ChatCall> DecodeChat(const v1::ChatRequest& message);
// INVALID_REQUEST when no prompt is set.
absl::StatusOr<service::GenerateCall> DecodeGenerate(const v1::GenerateRequest& message);
absl::StatusOr<service::TokenizeCall> DecodeTokenize(const v1::TokenizeRequest& message);
// UNSPECIFIED and unknown numbers give nullopt.
std::optional<request::Priority> DecodePriority(v1::Priority priority);

// Who answers a call.
struct AnswerHead {
  std::string_view request_id;
  std::string_view model;
  const tokenizer::Tokenizer* tokenizer = nullptr;         // of log-probabilities; null: there are none
  const std::vector<int32_t>* prompt_token_ids = nullptr;  // null: they are not given back
};
AnswerHead HeadOf(const service::ActiveCall& call);
// Appends the messages that carry an update: one for each choice that has something new. `first` marks the call's first
// message (prompt ids, request id, model); the last one carries the usage when `update.done` without error.
void EncodeUpdate(const service::CallUpdate& update, const AnswerHead& call, bool first,
                  std::vector<v1::GenerateResponse>* out);
void EncodeModels(const std::vector<std::shared_ptr<const service::ServedModel>>& models, v1::ListModelsResponse* out);
void EncodeLoad(const service::Load& load, v1::GetLoadResponse* out);

}  // namespace hadal::rpc
