// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/file_calls.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hadal/v1/batches.pb.h"
#include "server/batches/batch_request.h"
#include "server/batches/batch_service.h"
#include "server/request/refusal.h"
#include "server/rpc/batch_codec.h"
#include "server/rpc/message_codec.h"

namespace hadal::rpc {

using batches::BatchService;
using batches::Tables;
using request::MakeError;
using request::Reason;

void UploadCall::OnMessage(CallMessage message) {
  v1::UploadFileRequest request;
  if (absl::Status status = ParseMessage(message.bytes, &request); !status.ok()) return End(std::move(status));
  const bool begun = begun_;
  if (request.has_file() == begun) {
    return End(MakeError(Reason::kInvalidRequest,
                         begun ? "`file` is there twice; it belongs into the first message alone"
                               : "`file` is missing in the first message",
                         "file"));
  }
  if (environment().service->clock().Now() - info().arrival > batches::kUploadTimeout) {
    return End(MakeError(Reason::kRequestTimeout, absl::StrCat("the upload has taken longer than ",
                                                               absl::FormatDuration(batches::kUploadTimeout))));
  }
  message.bytes.Clear();
  writer_.pending.append(request.data());
  // What is left of the message before is here, too.
  message_ = std::move(message.lease);
  absl::Status room = message_.Resize(static_cast<int64_t>(writer_.pending.size()));
  if (!room.ok()) return End(std::move(room));
  last_ = request.last();
  if (begun) return Go();
  if (absl::Status status = CheckNewFile(request.file()); !status.ok()) return End(std::move(status));
  name_ = std::string(batches::KeptName(request.file().name()));
  seconds_ = request.file().expires_after_seconds();
  absl::StatusOr<service::BodyBudget::Lease> upload = environment().service->bodies().Open(service::SenderOf(info()));
  if (!upload.ok()) return End(upload.status());
  upload_ = *std::move(upload);
  Begin();
}

void UploadCall::OnHalfClose() {
  End(MakeError(Reason::kInvalidRequest, "the upload has no end: no message said `last`", "last"));
}

void UploadCall::Step(Job job, Then then) {
  OnStore([this, job = std::move(job)](
              Tables& tables) { return over_ ? MakeError(Reason::kCancelled, "the call is over") : job(tables); },
          [this, then = std::move(then)](absl::Status status) {
            if (!status.ok()) return End(std::move(status));
            then(std::move(status));
          });
}

void UploadCall::Begin() {
  begun_ = true;
  Step([this](Tables& tables) { return writer_.Begin(tables, info().caller.tenant, BatchService::UnixSeconds()); },
       [this](const absl::Status&) { Go(); });
}

void UploadCall::Go() {
  if (writer_.HasPiece(last_)) {
    return Step([this](Tables& tables) { return writer_.WritePiece(tables); }, [this](const absl::Status&) { Go(); });
  }
  if (last_) return Finish();
  message_.Release();
  ReadNext();
}

void UploadCall::Finish() {
  Step(
      [this](Tables& tables) {
        absl::StatusOr<batches::StoredFile> made = writer_.Finish(tables, name_, seconds_);
        if (made.ok()) file_ = *std::move(made);
        return made.status();
      },
      [this](const absl::Status&) {
        v1::File file;
        EncodeFile(file_, &file);
        std::vector<grpc::ByteBuffer> messages;
        messages.push_back(Serialize(file));
        Send(std::move(messages), absl::OkStatus());
      });
}

void UploadCall::OnEnd(const absl::Status& status, int code) {
  // A step that runs at this moment is before what is posted here; later ones see the flag.
  over_ = true;
  if (!status.ok() && begun_) {
    OweToStore([this](Tables& tables) { return writer_.Abandon(tables); });
  }
  ServerCall::OnEnd(status, code);
}

void DownloadCall::OnMessage(CallMessage message) {
  v1::DownloadFileRequest request;
  if (absl::Status status = ParseMessage(message.bytes, &request); !status.ok()) return End(std::move(status));
  OnStore(
      [this, id = request.id(), offset = request.offset()](Tables& tables) -> absl::Status {
        absl::StatusOr<batches::StoredFile> file = tables.files.Find(info().caller.tenant, id);
        if (!file.ok()) return file.status();
        file_bytes_ = file->bytes;
        if (offset < 0 || offset > file_bytes_) {
          return MakeError(
              Reason::kOutOfRange,
              absl::StrCat("`offset` is ", offset, "; it must be from 0 to the file's ", file_bytes_, " bytes"),
              "offset");
        }
        reader_ = batches::ContentReader(*std::move(file), offset);
        return absl::OkStatus();
      },
      [this](absl::Status status) { status.ok() ? Read() : End(std::move(status)); });
}

void DownloadCall::Read() {
  OnStore(
      [this](Tables& tables) {
        absl::StatusOr<batches::ContentReader::Piece> piece = reader_.Next(tables);
        if (piece.ok()) piece_ = *std::move(piece);
        return piece.status();
      },
      [this](absl::Status status) {
        if (!status.ok()) return End(std::move(status));
        std::optional<absl::Status> end;
        if (piece_.end) end = absl::OkStatus();
        std::vector<grpc::ByteBuffer> messages;
        if (!piece_.bytes.empty()) {
          v1::DownloadFileResponse response;
          response.set_data(std::move(piece_.bytes));
          response.set_file_bytes(std::exchange(file_bytes_, 0));
          messages.push_back(Serialize(response));
        } else if (!piece_.end) {
          return Read();
        }
        Send(std::move(messages), std::move(end));
      });
}

}  // namespace hadal::rpc
