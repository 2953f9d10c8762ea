// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "hadal/v1/batches.grpc.pb.h"
#include "server/batches/batch_service.h"
#include "tests/server/rpc/grpc_fixture.h"
#include "tests/support/batch_service.h"
#include "tests/support/temp_folder.h"

namespace hadal::testing {

// The reason in a status' ErrorInfo; "" for none.
inline std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details().empty()) return "";
  return details.details(0).UnpackTo(&info) ? info.reason() : "";
}

// A gRPC server that keeps files and batches in a folder of its own. No line runs.
class BatchGrpcFixture {
 public:
  explicit BatchGrpcFixture(batches::BatchOptions options = {}, GrpcFixture::Options grpc_options = {})
      : batches(OpenBatchService(std::move(options), folder_, &metrics_)),
        grpc(ServiceFixture::Says("x"), With(std::move(grpc_options), batches.get())),
        stub(v1::Batches::NewStub(grpc.channel)) {}
  ~BatchGrpcFixture() {
    grpc.server->Shutdown(absl::ZeroDuration());
    batches->Stop();
  }

  // A context of `key`'s caller; empty: without a key.
  static std::unique_ptr<grpc::ClientContext> Context(const std::string& key = "") {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!key.empty()) context->AddMetadata("authorization", "Bearer " + key);
    return context;
  }
  static v1::UploadFileRequest First(std::string data = "", bool last = false) {
    v1::UploadFileRequest first;
    first.mutable_file()->set_name("in.jsonl");
    first.mutable_file()->set_purpose("batch");
    first.set_data(std::move(data));
    first.set_last(last);
    return first;
  }
  // The whole call with those messages.
  grpc::Status Upload(const std::vector<v1::UploadFileRequest>& messages, v1::File* file, const std::string& key = "") {
    const auto context = Context(key);
    auto writer = stub->UploadFile(context.get(), file);
    for (const v1::UploadFileRequest& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  // The id of a file with that content.
  std::string UploadText(std::string_view content, const std::string& key = "") {
    v1::File file;
    const grpc::Status status = Upload({First(std::string(content), true)}, &file, key);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return file.id();
  }
  grpc::Status Download(const std::string& id, std::string* content, const std::string& key = "", int64_t offset = 0) {
    const auto context = Context(key);
    v1::DownloadFileRequest request;
    request.set_id(id);
    request.set_offset(offset);
    auto reader = stub->DownloadFile(context.get(), request);
    v1::DownloadFileResponse piece;
    file_bytes.clear();
    while (reader->Read(&piece)) {
      content->append(piece.data());
      file_bytes.push_back(piece.file_bytes());
    }
    return reader->Finish();
  }
  // Calls a method with one response.
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::Batches::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response, const std::string& key = "") {
    const auto context = Context(key);
    return (stub.get()->*method)(context.get(), request, response);
  }
  int64_t CountFiles() { return testing::CountFiles(*batches); }
  bool WaitFor(const std::function<bool()>& condition) {
    for (int i = 0; i < 60'000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  }

 private:
  static GrpcFixture::Options With(GrpcFixture::Options options, batches::BatchService* batches) {
    options.batches = batches;
    return options;
  }

  const TempFolder folder_;
  batches::BatchMetrics metrics_{nullptr};

 public:
  std::unique_ptr<batches::BatchService> batches;
  GrpcFixture grpc;
  std::unique_ptr<v1::Batches::Stub> stub;
  std::vector<int64_t> file_bytes;  // of the last download's messages
};

}  // namespace hadal::testing
