// SPDX-License-Identifier: Apache-2.0
#include "client/download.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/read_loop.h"
#include "hadal/v1/batches.grpc.pb.h"

namespace hadal::client {
namespace {

using Calls = v1::Batches::StubInterface::async_interface;

class DownloadLoop final : public ReadLoop<v1::Batches, v1::DownloadFileResponse, std::string> {
 public:
  DownloadLoop(std::shared_ptr<Connections> connections, absl::Time deadline, const std::string& file, int64_t offset)
      : ReadLoop(std::move(connections), Metadata(), deadline,
                 [this](Calls* calls, grpc::ClientContext* context, Reader* reader) {
                   calls->DownloadFile(context, RequestOfNextAttempt(), reader);
                 }) {
    request_.set_id(file);
    progress_.received = offset;
  }

  DownloadProgress progress() const {
    base::MutexLock lock(&read_mutex_);
    return progress_;
  }
  // How it ended, as Download's.
  absl::Status status() const {
    base::MutexLock lock(&read_mutex_);
    const absl::Status status = StatusLocked();
    if (!status.ok() || progress_.total == 0 || progress_.received == progress_.total) return status;
    return absl::DataLossError(
        absl::StrCat("the file has ", progress_.total, " bytes; the server ended it after ", progress_.received));
  }

 private:
  const v1::DownloadFileRequest* RequestOfNextAttempt() {
    base::MutexLock lock(&read_mutex_);
    request_.set_offset(progress_.received);
    return &request_;
  }
  std::string Take(const v1::DownloadFileResponse& response) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_) {
    progress_.received += static_cast<int64_t>(response.data().size());
    if (response.file_bytes() > 0) progress_.total = response.file_bytes();
    return response.data();
  }
  // A server that knows no offset would begin the file again, and that says no size.
  AfterBreak BrokeOff() override {
    base::MutexLock lock(&read_mutex_);
    if (progress_.total == 0) return AfterBreak::kEnd;
    ++progress_.resumed;
    return AfterBreak::kGoOn;
  }

  v1::DownloadFileRequest request_;  // attempts come one after another
  DownloadProgress progress_ ABSL_GUARDED_BY(read_mutex_);
};

// Cancels when its reader lets go of it.
class DownloadHandle final : public Download {
 public:
  explicit DownloadHandle(std::shared_ptr<DownloadLoop> loop) : loop_(std::move(loop)) {}
  ~DownloadHandle() override { loop_->Stop(); }

  void Next(Then then) override { loop_->Next(std::move(then)); }
  void Cancel() override { loop_->Stop(); }
  absl::Status status() const override { return loop_->status(); }
  DownloadProgress progress() const override { return loop_->progress(); }

 private:
  const std::shared_ptr<DownloadLoop> loop_;
};

}  // namespace

std::unique_ptr<Download> MakeDownload(std::shared_ptr<Connections> connections, absl::Time deadline,
                                       const std::string& file, int64_t offset) {
  return std::make_unique<DownloadHandle>(
      std::make_shared<DownloadLoop>(std::move(connections), deadline, file, offset));
}

}  // namespace hadal::client
