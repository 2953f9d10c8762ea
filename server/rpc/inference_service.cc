// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/inference_service.h"

#include "server/request/refusal.h"
#include "server/rpc/call_context.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/status_codec.h"
#include "server/rpc/streaming_call.h"

namespace hadal::rpc {

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Chat(grpc::CallbackServerContext* context,
                                                                   const grpc::ByteBuffer* message) {
  return StreamingCall::Start<ChatStreamingCall>(environment_, context, message);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                                       const grpc::ByteBuffer* message) {
  return StreamingCall::Start<GenerateStreamingCall>(environment_, context, message);
}

grpc::ServerUnaryReactor* InferenceService::Unary(grpc::CallbackServerContext* context, bool short_work,
                                                  std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  CallMetadata metadata;
  absl::Status status = ReadMetadata(*context, environment_->service->clock(), &metadata);
  if (status.ok()) status = environment_->keys->Authenticate(metadata.authorization, metadata.priority).status();
  auto finish = [reactor, id = metadata.request_id](const absl::Status& result) {
    reactor->Finish(ToGrpcStatus(result, id));
  };
  if (!status.ok() || short_work) {
    finish(status.ok() ? work() : status);
    return reactor;
  }
  if (!environment_->service->workers().TryPost([finish, work = std::move(work)] { finish(work()); })) {
    finish(request::MakeBusy(request::Reason::kConnectionQueueFull, "all workers are taken", absl::Seconds(1)));
  }
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  return Unary(context, /*short_work=*/false, [this, request, response]() -> absl::Status {
    absl::StatusOr<service::TokenizeResult> result = environment_->service->Tokenize(DecodeTokenize(*request));
    if (!result.ok()) return result.status();
    response->mutable_token_ids()->Add(result->token_ids.begin(), result->token_ids.end());
    response->set_max_model_len(result->model->info.max_model_len);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  return Unary(context, /*short_work=*/false, [this, request, response]() -> absl::Status {
    absl::StatusOr<std::string> text = environment_->service->Detokenize(
        request->model(), absl::MakeConstSpan(request->token_ids().data(), request->token_ids_size()),
        request->skip_special_tokens());
    if (!text.ok()) return text.status();
    response->set_text(*std::move(text));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::ListModels(grpc::CallbackServerContext* context,
                                                       const v1::ListModelsRequest* request,
                                                       v1::ListModelsResponse* response) {
  return Unary(context, /*short_work=*/true, [this, response] {
    EncodeModels(environment_->service->ListModels(), response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::GetLoad(grpc::CallbackServerContext* context,
                                                    const v1::GetLoadRequest* request, v1::GetLoadResponse* response) {
  return Unary(context, /*short_work=*/true, [this, response] {
    EncodeLoad(environment_->service->GetLoad(), response);
    return absl::OkStatus();
  });
}

}  // namespace hadal::rpc
