// SPDX-License-Identifier: Apache-2.0
#include "server/http/file_upload.h"

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/batches/batch_request.h"
#include "server/batches/batch_service.h"
#include "server/batches/file_writer.h"
#include "server/batches/store_error.h"
#include "server/http/batch_routes.h"
#include "server/http/codec/batch_codec.h"
#include "server/http/codec/json_body.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/multipart_reader.h"
#include "server/http/recorded_response.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using batches::BatchService;
using batches::StoredFile;
using batches::Tables;
using request::MakeError;
using request::Reason;

// A field besides the file.
constexpr size_t kMaxFieldBytes = 1 << 10;

// The fields of the form; the file's bytes go to `pending`, which outlives it.
class UploadForm final : public MultipartReader::Sink {
 public:
  explicit UploadForm(std::string* pending) : pending_(*pending) {}

  absl::Status BeginPart(std::string_view name, std::string_view file_name) override {
    field_ = name == "purpose" ? &purpose_ : name == "expires_after[seconds]" ? &expires_ : &ignored_;
    in_file_ = name == "file";
    if (!in_file_) return absl::OkStatus();
    if (has_file_) return InvalidField("file", "`file` is there twice; one file is sent at a time");
    has_file_ = true;
    file_name_ = std::string(batches::KeptName(file_name));
    return absl::OkStatus();
  }
  absl::Status Data(std::string_view bytes) override {
    if (in_file_) {
      pending_.append(bytes);
      return absl::OkStatus();
    }
    if (field_->size() + bytes.size() > kMaxFieldBytes) {
      return InvalidField("", absl::StrCat("a field besides `file` has more than ", kMaxFieldBytes, " bytes"));
    }
    field_->append(bytes);
    return absl::OkStatus();
  }

  // Whether the form is complete and right.
  absl::Status Check() {
    if (!has_file_) return InvalidField("file", "`file` is missing");
    if (absl::Status status = batches::CheckPurpose(purpose_); !status.ok()) return status;
    if (expires_.empty()) return absl::OkStatus();
    if (!absl::SimpleAtoi(expires_, &seconds_))
      return InvalidField("expires_after[seconds]", "`expires_after[seconds]` is no whole number");
    return batches::CheckExpiry(seconds_, "expires_after[seconds]");
  }
  const std::string& file_name() const { return file_name_; }
  int64_t seconds() const { return seconds_; }

 private:
  std::string& pending_;
  bool in_file_ = false;
  bool has_file_ = false;
  std::string* field_ = &ignored_;
  std::string purpose_, expires_, ignored_, file_name_;
  int64_t seconds_ = 0;
};

class FileUpload {
 public:
  FileUpload(Connection& connection, const std::string& owner) : connection_(connection), owner_(owner) {}

  // Reads and keeps the whole form; the file once it is seen by others.
  asio::awaitable<absl::Status> Run(std::string_view sender, StoredFile* file);
  // What the store has of it goes when the store comes to it; nobody waits for that.
  void Abandon();

 private:
  // Takes pending bytes on; at the `end` all of them.
  asio::awaitable<absl::Status> Write(bool end);

  Connection& connection_;
  const std::string& owner_;
  batches::FileWriter writer_;
  UploadForm form_{&writer_.pending};
};

asio::awaitable<absl::Status> FileUpload::Write(bool end) {
  const std::function<absl::Status(Tables&)> write = [&](Tables& tables) { return writer_.WritePiece(tables); };
  while (writer_.HasPiece(end)) {
    absl::Status status = co_await OnStore(connection_, write);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> FileUpload::Run(std::string_view sender, StoredFile* file) {
  absl::StatusOr<MultipartReader> reader = MultipartReader::Create(connection_.head().content_type);
  if (!reader.ok()) co_return reader.status();
  const std::function<absl::Status(Tables&)> begin = [&](Tables& tables) {
    return writer_.Begin(tables, owner_, BatchService::UnixSeconds());
  };
  absl::Status status = co_await OnStore(connection_, begin);
  if (!status.ok()) co_return status;
  service::BodyBudget::Lease lease;
  status = co_await connection_.BeginPieces(sender, &lease);
  if (!status.ok()) co_return status;
  BodyPace::Limits limits = connection_.context().options.BodyLimits();
  limits.total_timeout = batches::kUploadTimeout;
  const BodyPace pace(limits, std::chrono::steady_clock::now());
  for (std::string piece = "first"; !piece.empty();) {
    status = co_await connection_.ReadPiece(pace, &piece);
    if (status.ok()) status = reader->Feed(piece, &form_);
    if (!status.ok()) co_return status;
    status = co_await Write(/*end=*/false);
    if (!status.ok()) co_return status;
  }
  if (!reader->ended())
    co_return MakeError(Reason::kInvalidRequest, "the form has no end: its last boundary is missing");
  status = form_.Check();
  if (!status.ok()) co_return status;
  status = co_await Write(/*end=*/true);
  if (!status.ok()) co_return status;
  const std::function<absl::Status(Tables&)> finish = [&](Tables& tables) {
    absl::StatusOr<StoredFile> made = writer_.Finish(tables, form_.file_name(), form_.seconds());
    if (made.ok()) *file = *std::move(made);
    return made.status();
  };
  co_return co_await OnStore(connection_, finish);
}

void FileUpload::Abandon() {
  if (!writer_.begun()) return;
  writer_.pending.clear();
  // Refused only when the store is closed, which then has forgotten the upload.
  (void)connection_.context().dependencies.batches->PostOwed([writer = writer_](Tables& tables) mutable {
    (void)batches::ClientError(writer.Abandon(tables));  // logs it
  });
}

}  // namespace

asio::awaitable<void> HandleUpload(Connection& connection, service::CallInfo info) {
  FileUpload upload(connection, info.caller.tenant);
  StoredFile file;
  const std::string sender = service::SenderOf(info);
  absl::Status status = co_await upload.Run(sender, &file);
  if (!status.ok()) upload.Abandon();
  if (connection.disconnected()) {
    RecordGone(connection, info);
    co_return;
  }
  if (!status.ok()) {
    co_await Refuse(connection, info, std::move(status));
    co_return;
  }
  Response response;
  JsonWriter json(&response.body);
  AppendFile(file, &json);
  co_await SendRecorded(connection, info, absl::OkStatus(), std::move(response));
}

}  // namespace hadal::http
