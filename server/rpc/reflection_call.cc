// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/reflection_call.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "hadal/v1/inference.pb.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/store_call.h"

namespace hadal::rpc {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr const char* kServices[] = {"hadal.v1.Inference", "grpc.health.v1.Health",
                                     "grpc.reflection.v1.ServerReflection"};

void AddService(std::string_view name, ServerReflectionResponse* out) {
  out->mutable_list_services_response()->add_service()->set_name(std::string(name));
}

// The file, and what it imports.
void AddFile(const FileDescriptor& file, std::unordered_set<std::string>* seen, ServerReflectionResponse* out) {
  if (!seen->insert(file.name()).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  out->mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), seen, out);
}

void AnswerFile(const FileDescriptor* file, ServerReflectionResponse* out) {
  if (file == nullptr) {
    out->mutable_error_response()->set_error_code(grpc::StatusCode::NOT_FOUND);
    out->mutable_error_response()->set_error_message("not found");
    return;
  }
  std::unordered_set<std::string> seen;
  AddFile(*file, &seen, out);
}

ServerReflectionResponse Answer(const ServerReflectionRequest& request, bool batches) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kListServices:
      for (const char* name : kServices) AddService(name, &response);
      if (batches) AddService(kBatchesService, &response);
      break;
    case ServerReflectionRequest::kFileByFilename:
      AnswerFile(pool.FindFileByName(request.file_by_filename()), &response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      AnswerFile(pool.FindFileContainingSymbol(request.file_containing_symbol()), &response);
      break;
    case ServerReflectionRequest::kFileContainingExtension:
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      AnswerFile(nullptr, &response);  // nothing here has extensions
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      response.mutable_error_response()->set_error_code(grpc::StatusCode::INVALID_ARGUMENT);
      response.mutable_error_response()->set_error_message("the request asks for nothing");
      break;
  }
  return response;
}

}  // namespace

void ReflectionCall::OnMessage(CallMessage message) {
  ServerReflectionRequest request;
  if (absl::Status status = ParseMessage(message.bytes, &request); !status.ok()) return End(std::move(status));
  std::vector<grpc::ByteBuffer> messages;
  messages.push_back(Serialize(Answer(request, environment().batches != nullptr)));
  Send(std::move(messages));
}

}  // namespace hadal::rpc
