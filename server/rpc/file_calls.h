// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "server/batches/batch_types.h"
#include "server/batches/content_reader.h"
#include "server/batches/file_writer.h"
#include "server/rpc/store_call.h"
#include "server/service/body_budget.h"

namespace hadal::rpc {

// UploadFile: a message is read when the bytes of the one before are in the store. An upload that does not come to its
// end leaves nothing.
class UploadCall final : public StoreCall {
 public:
  UploadCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context)
      : StoreCall(environment, context, "UploadFile") {}

 private:
  void OnMessage(CallMessage message) override;
  void OnHalfClose() override;
  void OnEnd(const absl::Status& status, int code) override;
  // A step on the store's thread; nothing happens there once the call is over.
  void Step(Job job, Then then);
  // The first message has been looked at.
  void Begin();
  // What has arrived goes into the store, then comes the next message or the end.
  void Go();
  void Finish();

  std::atomic<bool> begun_{false};
  std::atomic<bool> over_{false};
  // One step after another uses them.
  bool last_ = false;
  std::string name_;
  int64_t seconds_ = 0;
  batches::FileWriter writer_;
  batches::StoredFile file_;
  service::BodyBudget::Lease upload_;   // counts as one for as long as it lasts
  service::BodyBudget::Lease message_;  // of writer_'s bytes
};

// DownloadFile: a piece is read when the one before has been written, however slow the client takes it.
class DownloadCall final : public StoreCall {
 public:
  DownloadCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context)
      : StoreCall(environment, context, "DownloadFile") {}

 private:
  void OnMessage(CallMessage message) override;
  void OnWritten() override { Read(); }
  void Read();

  // One step after another uses them.
  batches::ContentReader reader_;
  batches::ContentReader::Piece piece_;
  int64_t file_bytes_ = 0;  // until it has been sent
};

}  // namespace hadal::rpc
