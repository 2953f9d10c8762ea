// SPDX-License-Identifier: Apache-2.0
#include "client/upload_loop.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "client/batch_requests.h"

namespace hadal::client {
namespace {

// As large as the pieces of the server's store.
constexpr size_t kPieceBytes = size_t{256} << 10;

// The bytes of an upload, from their beginning on.
class Source {
 public:
  explicit Source(const Upload& upload) : upload_(upload) {}
  ~Source() {
    if (file_ != nullptr) std::fclose(file_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // The next bytes; `end` when they are the last ones. NotFound names a path that cannot be read.
  absl::Status Next(std::string* bytes, bool* end) {
    if (upload_.path.empty()) {
      *bytes = upload_.text.substr(at_, kPieceBytes);
      at_ += bytes->size();
      *end = at_ == upload_.text.size();
      return absl::OkStatus();
    }
    if (file_ == nullptr) file_ = std::fopen(upload_.path.c_str(), "rbe");
    if (file_ == nullptr) return Unreadable();
    bytes->resize(kPieceBytes);
    bytes->resize(std::fread(bytes->data(), 1, kPieceBytes, file_));
    if (std::ferror(file_) != 0) return Unreadable();
    *end = bytes->size() < kPieceBytes;
    return absl::OkStatus();
  }

 private:
  absl::Status Unreadable() const {
    return absl::NotFoundError(absl::StrCat("cannot read '", upload_.path, "': ", std::strerror(errno)));
  }

  const Upload& upload_;
  size_t at_ = 0;
  std::FILE* file_ = nullptr;
};

}  // namespace

class UploadLoop::Stream final : public grpc::ClientWriteReactor<v1::UploadFileRequest> {
 public:
  Stream(std::shared_ptr<UploadLoop> loop, grpc::ClientContext* context)
      : loop_(std::move(loop)), context_(context), source_(loop_->upload_) {
    *message_.mutable_file() = MessageOf(loop_->upload_);
  }

  void Write() {
    bool end = false;
    if (absl::Status status = source_.Next(message_.mutable_data(), &end); !status.ok()) {
      loop_->CannotRead(std::move(status));
      return context_->TryCancel();
    }
    message_.set_last(end);
    if (!end) return StartWrite(&message_);
    loop_->end_sent_ = true;
    StartWriteLast(&message_, grpc::WriteOptions());
  }
  void OnWriteDone(bool ok) override {
    if (!ok || message_.last()) return;  // the call's end follows
    message_.Clear();
    Write();
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<UploadLoop> loop = std::move(loop_);
    const grpc::ClientContext* const context = context_;
    delete this;
    loop->AttemptDone(context, status);
  }

 private:
  std::shared_ptr<UploadLoop> loop_;
  grpc::ClientContext* const context_;
  Source source_;  // of the loop's upload
  v1::UploadFileRequest message_;
};

void UploadLoop::Launch(const Connections::Server& server, grpc::ClientContext* context) {
  end_sent_ = false;
  response_.Clear();
  auto* const stream = new Stream(std::static_pointer_cast<UploadLoop>(shared_from_this()), context);
  server.async<v1::Batches>()->UploadFile(context, &response_, stream);
  stream->Write();
  stream->StartCall();
}

void UploadLoop::CannotRead(absl::Status status) {
  base::MutexLock lock(&error_mutex_);
  read_error_ = std::move(status);
}

void UploadLoop::End(absl::Status status) {
  {
    base::MutexLock lock(&error_mutex_);
    if (!read_error_.ok()) status = read_error_;
  }
  if (status.ok()) {
    done_(FileOf(response_));
  } else {
    done_(std::move(status));
  }
}

}  // namespace hadal::client
