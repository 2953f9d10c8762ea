// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

#include "hadal/v1/inference.grpc.pb.h"
#include "server/rpc/call_environment.h"

namespace hadal::rpc {

// hadal.v1.Inference. Chat and Generate are registered raw, so that a queue slot is reserved while the message is still
// bytes; the short calls are ordinary. Thread-safe.
using InferenceServiceBase = v1::Inference::WithRawCallbackMethod_Chat<
    v1::Inference::WithRawCallbackMethod_Generate<v1::Inference::WithCallbackMethod_Tokenize<
        v1::Inference::WithCallbackMethod_Detokenize<v1::Inference::WithCallbackMethod_ListModels<
            v1::Inference::WithCallbackMethod_GetLoad<v1::Inference::Service>>>>>>;

class InferenceService final : public InferenceServiceBase {
 public:
  // `environment` is borrowed and outlives the server.
  explicit InferenceService(const CallEnvironment* environment) : environment_(environment) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Chat(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* message) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* message) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context, const v1::GetLoadRequest* request,
                                    v1::GetLoadResponse* response) override;

 private:
  // Authenticates, then runs `work` on a worker thread (or at once when `short_work`), records the call and finishes it
  // with the status.
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, std::string_view route, bool short_work,
                                  std::function<absl::Status()> work);

  const CallEnvironment* const environment_;
};

}  // namespace hadal::rpc
