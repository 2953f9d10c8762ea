// SPDX-License-Identifier: Apache-2.0
#include "client/batch_client.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "client/attempt_loop.h"
#include "client/batch_requests.h"
#include "client/batch_wait.h"
#include "client/channel.h"
#include "client/download.h"
#include "client/mailbox.h"
#include "client/unary_loop.h"
#include "client/upload_loop.h"
#include "hadal/v1/batches.grpc.pb.h"

namespace hadal::client {
namespace {

using Calls = v1::Batches::StubInterface::async_interface;

template <typename Request>
Request ById(const std::string& id) {
  Request request;
  request.set_id(id);
  return request;
}

Page<BatchFile> PageOf(const v1::ListFilesResponse& response) {
  Page<BatchFile> page = {.items = {}, .has_more = response.has_more()};
  for (const v1::File& file : response.files()) page.items.push_back(FileOf(file));
  return page;
}
Page<Batch> PageOf(const v1::ListBatchesResponse& response) {
  Page<Batch> page = {.items = {}, .has_more = response.has_more()};
  for (const v1::Batch& batch : response.batches()) page.items.push_back(BatchOf(batch));
  return page;
}

// `done`, told what `translate` makes of the response.
template <typename Response, typename T>
std::function<void(absl::StatusOr<Response>)> Translating(BatchClient::Done<T> done, T (*translate)(const Response&)) {
  return [done = std::move(done), translate](absl::StatusOr<Response> response) {
    if (response.ok()) {
      done(translate(*response));
    } else {
      done(response.status());
    }
  };
}

// The server has looked at it and said no, so it was not made.
bool RefusedForGood(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) || absl::IsResourceExhausted(status) ||
         absl::IsUnimplemented(status) || absl::IsPermissionDenied(status);
}

class BatchClientImpl final : public BatchClient {
 public:
  explicit BatchClientImpl(const ChannelOptions& options)
      : deadline_(options.deadline), connections_(OpenConnections(options)) {}

  void StartUpload(Upload upload, Done<BatchFile> done) override {
    std::make_shared<UploadLoop>(connections_, Deadline(), std::move(upload), std::move(done))->Start();
  }
  void StartGetFile(const std::string& id, Done<BatchFile> done) override {
    Unary(ById<v1::GetFileRequest>(id), &Calls::GetFile, Translating<v1::File>(std::move(done), &FileOf));
  }
  void StartListFiles(const ListOptions& options, Done<Page<BatchFile>> done) override {
    v1::ListFilesRequest request;
    request.set_page_size(options.page_size);
    request.set_after(options.after);
    request.set_oldest_first(options.oldest_first);
    request.set_purpose(options.purpose);
    Unary(std::move(request), &Calls::ListFiles, Translating<v1::ListFilesResponse>(std::move(done), &PageOf));
  }
  void StartDeleteFile(const std::string& id, OnStatus done) override {
    Unary<v1::DeleteFileResponse>(
        ById<v1::DeleteFileRequest>(id), &Calls::DeleteFile,
        [done = std::move(done)](const absl::StatusOr<v1::DeleteFileResponse>& response) { done(response.status()); },
        Repeat::kNotSent);
  }
  std::unique_ptr<Download> StartDownload(const std::string& file, int64_t offset) override {
    return MakeDownload(connections_, Deadline(), file, offset);
  }

  void StartCreate(const NewBatch& batch, Done<Batch> done) override {
    Unary(MessageOf(batch), &Calls::CreateBatch, Translating<v1::Batch>(std::move(done), &BatchOf), Repeat::kNotSent);
  }
  void StartGet(const std::string& id, Done<Batch> done) override { Look(id, Deadline(), std::move(done)); }
  void StartList(const ListOptions& options, Done<Page<Batch>> done) override {
    v1::ListBatchesRequest request;
    request.set_page_size(options.page_size);
    request.set_after(options.after);
    Unary(std::move(request), &Calls::ListBatches, Translating<v1::ListBatchesResponse>(std::move(done), &PageOf));
  }
  void StartCancel(const std::string& id, Done<Batch> done) override {
    Unary(ById<v1::CancelBatchRequest>(id), &Calls::CancelBatch, Translating<v1::Batch>(std::move(done), &BatchOf));
  }
  void StartWait(const std::string& id, const WaitOptions& options, Done<Batch> done) override {
    // The client may be gone by the second look.
    auto look = [connections = connections_, longest = deadline_, id](absl::Time deadline, Done<Batch> seen) {
      Look(connections, id, std::min(deadline, absl::Now() + longest), std::move(seen));
    };
    std::make_shared<BatchWait>(options, std::move(look), std::move(done))->Start();
  }
  void StartSubmit(Upload upload, const NewBatch& batch, Done<Batch> done) override {
    // The client may be gone by the second call.
    StartUpload(std::move(upload), [connections = connections_, longest = deadline_, wanted = batch,
                                    done = std::move(done)](absl::StatusOr<BatchFile> file) mutable {
      if (!file.ok()) return done(file.status());
      wanted.input_file = file->id;
      CreateOrDelete(connections, longest, wanted, std::move(done));
    });
  }

 private:
  static void CreateOrDelete(const std::shared_ptr<Connections>& connections, absl::Duration longest,
                             const NewBatch& wanted, Done<Batch> done) {
    auto made = [connections, longest, file = wanted.input_file,
                 done = std::move(done)](const absl::StatusOr<v1::Batch>& batch) {
      if (batch.ok()) return done(BatchOf(*batch));
      if (!RefusedForGood(batch.status())) return done(batch.status());
      Call<v1::DeleteFileResponse>(
          connections, absl::Now() + longest, ById<v1::DeleteFileRequest>(file), &Calls::DeleteFile,
          [done, why = batch.status()](const auto&) { done(why); }, Repeat::kNotSent);
    };
    Call<v1::Batch>(connections, absl::Now() + longest, MessageOf(wanted), &Calls::CreateBatch, std::move(made),
                    Repeat::kNotSent);
  }

  static void Look(const std::shared_ptr<Connections>& connections, const std::string& id, absl::Time deadline,
                   Done<Batch> done) {
    Call<v1::Batch>(connections, deadline, ById<v1::GetBatchRequest>(id), &Calls::GetBatch,
                    Translating<v1::Batch>(std::move(done), &BatchOf), Repeat::kAlways);
  }
  void Look(const std::string& id, absl::Time deadline, Done<Batch> done) const {
    Look(connections_, id, deadline, std::move(done));
  }

  template <typename Response, typename Request>
  static void Call(const std::shared_ptr<Connections>& connections, absl::Time deadline, Request request,
                   typename UnaryLoop<Request, Response, v1::Batches>::Method method,
                   std::function<void(absl::StatusOr<Response>)> done, Repeat repeat) {
    std::make_shared<UnaryLoop<Request, Response, v1::Batches>>(connections, Metadata(), deadline, method,
                                                                std::move(request), std::move(done), repeat)
        ->Start();
  }
  template <typename Response, typename Request>
  void Unary(Request request, typename UnaryLoop<Request, Response, v1::Batches>::Method method,
             std::function<void(absl::StatusOr<Response>)> done, Repeat repeat = Repeat::kAlways) {
    Call<Response>(connections_, Deadline(), std::move(request), method, std::move(done), repeat);
  }

  absl::Time Deadline() const { return absl::Now() + deadline_; }

  const absl::Duration deadline_;
  const std::shared_ptr<Connections> connections_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BatchClient>> BatchClient::Connect(const ChannelOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  return std::make_unique<BatchClientImpl>(options);
}

absl::StatusOr<BatchFile> BatchClient::UploadFile(Upload upload) {
  return WaitFor<BatchFile>([&](auto done) { StartUpload(std::move(upload), std::move(done)); });
}
absl::StatusOr<BatchFile> BatchClient::GetFile(const std::string& id) {
  return WaitFor<BatchFile>([&](auto done) { StartGetFile(id, std::move(done)); });
}
absl::StatusOr<Page<BatchFile>> BatchClient::ListFiles(const ListOptions& options) {
  return WaitFor<Page<BatchFile>>([&](auto done) { StartListFiles(options, std::move(done)); });
}
absl::Status BatchClient::DeleteFile(const std::string& id) {
  return WaitForValue<absl::Status>([&](auto done) { StartDeleteFile(id, std::move(done)); });
}
absl::StatusOr<Batch> BatchClient::Create(const NewBatch& batch) {
  return WaitFor<Batch>([&](auto done) { StartCreate(batch, std::move(done)); });
}
absl::StatusOr<Batch> BatchClient::Get(const std::string& id) {
  return WaitFor<Batch>([&](auto done) { StartGet(id, std::move(done)); });
}
absl::StatusOr<Page<Batch>> BatchClient::List(const ListOptions& options) {
  return WaitFor<Page<Batch>>([&](auto done) { StartList(options, std::move(done)); });
}
absl::StatusOr<Batch> BatchClient::Cancel(const std::string& id) {
  return WaitFor<Batch>([&](auto done) { StartCancel(id, std::move(done)); });
}
absl::StatusOr<Batch> BatchClient::Wait(const std::string& id, const WaitOptions& options) {
  return WaitFor<Batch>([&](auto done) { StartWait(id, options, std::move(done)); });
}

absl::StatusOr<Batch> BatchClient::Submit(Upload upload, const NewBatch& batch) {
  return WaitFor<Batch>([&](auto done) { StartSubmit(std::move(upload), batch, std::move(done)); });
}

absl::Status BatchClient::ReadFile(const std::string& file, const OnPiece& on_piece, int64_t offset) {
  const std::unique_ptr<Download> download = StartDownload(file, offset);
  while (true) {
    const auto piece = WaitForValue<std::optional<std::string>>([&](auto then) { download->Next(std::move(then)); });
    if (!piece.has_value()) return download->status();
    if (!on_piece(*piece, download->progress())) return absl::CancelledError("the download was ended by its reader");
  }
}

absl::Status BatchClient::ReadFile(const std::string& file, const std::function<bool(std::string_view)>& on_piece) {
  return ReadFile(file, [&](std::string_view bytes, const DownloadProgress&) { return on_piece(bytes); });
}

absl::Status BatchClient::ReadResults(const Batch& batch,
                                      const std::function<bool(std::string_view line, bool failed)>& on_line) {
  for (const bool failed : {false, true}) {
    const std::string& file = failed ? batch.error_file : batch.output_file;
    if (file.empty()) continue;
    const absl::Status status = ReadFile(file, [&](std::string_view lines) {
      while (!lines.empty()) {
        const size_t end = std::min(lines.find('\n'), lines.size());
        if (!on_line(lines.substr(0, end), failed)) return false;
        lines.remove_prefix(std::min(end + 1, lines.size()));
      }
      return true;
    });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace hadal::client
