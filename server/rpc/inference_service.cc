// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/inference_service.h"

#include <utility>

#include "server/rpc/call_context.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/status_codec.h"
#include "server/rpc/streaming_call.h"

namespace hadal::rpc {

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Chat(grpc::CallbackServerContext* context,
                                                                   const grpc::ByteBuffer* message) {
  return StreamingCall::Start(environment_, context, message, "Chat", &DecodeChatMessage);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                                       const grpc::ByteBuffer* message) {
  return StreamingCall::Start(environment_, context, message, "Generate", &DecodeGenerateMessage);
}

grpc::ServerUnaryReactor* InferenceService::Unary(grpc::CallbackServerContext* context, std::string_view route,
                                                  bool short_work, std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  CallMetadata metadata;
  const absl::Status status = OpenCall(*context, *environment_, route, &metadata);
  auto finish = [reactor, service = environment_->service,
                 info = std::move(metadata.info)](const absl::Status& result) {
    const grpc::Status wire = ToGrpcStatus(result, info.request_id);
    service->Record(info, {.status = result, .code = static_cast<int>(wire.error_code())});
    reactor->Finish(wire);
  };
  if (!status.ok() || short_work) {
    finish(status.ok() ? work() : status);
    return reactor;
  }
  if (!environment_->service->workers().TryPost([finish, work = std::move(work)] { finish(work()); })) {
    finish(service::WorkersBusy());
  }
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  return Unary(context, "Tokenize", /*short_work=*/false, [this, request, response]() -> absl::Status {
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
  return Unary(context, "Detokenize", /*short_work=*/false, [this, request, response]() -> absl::Status {
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
  return Unary(context, "ListModels", /*short_work=*/true, [this, response] {
    EncodeModels(environment_->service->ListModels(), response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* InferenceService::GetLoad(grpc::CallbackServerContext* context,
                                                    const v1::GetLoadRequest* request, v1::GetLoadResponse* response) {
  return Unary(context, "GetLoad", /*short_work=*/true, [this, response] {
    EncodeLoad(environment_->service->GetLoad(), response);
    return absl::OkStatus();
  });
}

}  // namespace hadal::rpc
