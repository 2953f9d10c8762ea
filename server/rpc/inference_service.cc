// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/inference_service.h"

#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "hadal/v1/inference.pb.h"
#include "server/rpc/batch_methods.h"
#include "server/rpc/health_call.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/reflection_call.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/streaming_call.h"
#include "server/rpc/unary_call.h"

namespace hadal::rpc {
namespace {

using Context = grpc::GenericCallbackServerContext;
using MakeCall = std::shared_ptr<ServerCall> (*)(const CallEnvironment* environment, Context* context);
using Runs = UnaryCall::Runs;

// A method that works on decoded messages.
template <typename Request, typename ResponseMessage>
using Method = absl::Status (*)(service::GenerateService& service, const service::Caller& caller,
                                const Request& request, ResponseMessage* response);

template <typename Request, typename ResponseMessage>
std::shared_ptr<ServerCall> MakeUnary(const CallEnvironment* environment, Context* context, std::string_view route,
                                      Runs runs, Method<Request, ResponseMessage> method) {
  return std::make_shared<UnaryCall>(
      environment, context, route, Access::kKey, runs,
      [service = environment->service, method](const service::Caller& caller,
                                               const grpc::ByteBuffer& bytes) -> absl::StatusOr<grpc::ByteBuffer> {
        Request request;
        ResponseMessage response;
        if (absl::Status status = ParseMessage(bytes, &request); !status.ok()) return status;
        if (absl::Status status = method(*service, caller, request, &response); !status.ok()) return status;
        return Serialize(response);
      });
}

absl::Status Tokenize(service::GenerateService& service, const service::Caller&, const v1::TokenizeRequest& request,
                      v1::TokenizeResponse* response) {
  const absl::StatusOr<service::TokenizeCall> call = DecodeTokenize(request);
  if (!call.ok()) return call.status();
  absl::StatusOr<service::TokenizeResult> result = service.Tokenize(*call);
  if (!result.ok()) return result.status();
  response->mutable_token_ids()->Add(result->token_ids.begin(), result->token_ids.end());
  response->set_max_model_len(result->model->info.max_model_len);
  return absl::OkStatus();
}

absl::Status Detokenize(service::GenerateService& service, const service::Caller&, const v1::DetokenizeRequest& request,
                        v1::DetokenizeResponse* response) {
  absl::StatusOr<std::string> text =
      service.Detokenize(request.model(), absl::MakeConstSpan(request.token_ids().data(), request.token_ids_size()),
                         request.skip_special_tokens());
  if (!text.ok()) return text.status();
  response->set_text(*std::move(text));
  return absl::OkStatus();
}

absl::Status EndThinking(service::GenerateService& service, const service::Caller& caller,
                         const v1::EndThinkingRequest& request, v1::EndThinkingResponse*) {
  return service.thinking_controls().End(request.request_id(), caller.tenant);
}

absl::Status ListModels(service::GenerateService& service, const service::Caller&, const v1::ListModelsRequest&,
                        v1::ListModelsResponse* response) {
  EncodeModels(service.ListModels(), response);
  return absl::OkStatus();
}

absl::Status GetLoad(service::GenerateService& service, const service::Caller&, const v1::GetLoadRequest&,
                     v1::GetLoadResponse* response) {
  EncodeLoad(service.GetLoad(), response);
  return absl::OkStatus();
}

template <typename Call>
std::shared_ptr<ServerCall> Make(const CallEnvironment* environment, Context* context) {
  return std::make_shared<Call>(environment, context);
}

const std::map<std::string_view, MakeCall>& Methods() {
  static const auto* const methods = new std::map<std::string_view, MakeCall>{
      {"/hadal.v1.Inference/Chat",
       [](const CallEnvironment* environment, Context* context) -> std::shared_ptr<ServerCall> {
         return std::make_shared<StreamingCall>(environment, context, "Chat", &DecodeChatMessage);
       }},
      {"/hadal.v1.Inference/Generate",
       [](const CallEnvironment* environment, Context* context) -> std::shared_ptr<ServerCall> {
         return std::make_shared<StreamingCall>(environment, context, "Generate", &DecodeGenerateMessage);
       }},
      {"/hadal.v1.Inference/Tokenize",
       [](const CallEnvironment* environment, Context* context) {
         return MakeUnary(environment, context, "Tokenize", Runs::kOnWorker, &Tokenize);
       }},
      {"/hadal.v1.Inference/Detokenize",
       [](const CallEnvironment* environment, Context* context) {
         return MakeUnary(environment, context, "Detokenize", Runs::kOnWorker, &Detokenize);
       }},
      {"/hadal.v1.Inference/EndThinking",
       [](const CallEnvironment* environment, Context* context) {
         return MakeUnary(environment, context, "EndThinking", Runs::kAtOnce, &EndThinking);
       }},
      {"/hadal.v1.Inference/ListModels",
       [](const CallEnvironment* environment, Context* context) {
         return MakeUnary(environment, context, "ListModels", Runs::kAtOnce, &ListModels);
       }},
      {"/hadal.v1.Inference/GetLoad",
       [](const CallEnvironment* environment, Context* context) {
         return MakeUnary(environment, context, "GetLoad", Runs::kAtOnce, &GetLoad);
       }},
      {"/grpc.health.v1.Health/Check", &Make<HealthCheck>},
      {"/grpc.health.v1.Health/Watch", &Make<HealthWatch>},
      {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &Make<ReflectionCall>},
      {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &Make<ReflectionCall>},
  };
  return *methods;
}

}  // namespace

grpc::ServerGenericBidiReactor* InferenceService::CreateReactor(Context* context) {
  const auto method = Methods().find(context->method());
  if (method != Methods().end()) return ServerCall::Start(method->second(environment_, context));
  std::shared_ptr<ServerCall> call = MakeBatchCall(environment_, context);
  if (call == nullptr) call = std::make_shared<UnknownCall>(environment_, context);
  return ServerCall::Start(std::move(call));
}

}  // namespace hadal::rpc
