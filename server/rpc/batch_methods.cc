// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/batch_methods.h"

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "hadal/v1/batches.pb.h"
#include "server/batches/batch_request.h"
#include "server/batches/batch_service.h"
#include "server/rpc/batch_codec.h"
#include "server/rpc/file_calls.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/store_call.h"

namespace hadal::rpc {
namespace {

using batches::BatchService;
using batches::StoredBatch;
using batches::StoredFile;
using batches::Tables;
using StatusOrBytes = absl::StatusOr<grpc::ByteBuffer>;

// --- how the store's answers are sent ---
StatusOrBytes Sent(const absl::StatusOr<StoredFile>& file) {
  if (!file.ok()) return file.status();
  v1::File message;
  EncodeFile(*file, &message);
  return Serialize(message);
}
StatusOrBytes Sent(const absl::StatusOr<StoredBatch>& batch) {
  if (!batch.ok()) return batch.status();
  v1::Batch message;
  EncodeBatch(*batch, &message);
  return Serialize(message);
}
StatusOrBytes Sent(const absl::StatusOr<batches::ListPage<StoredFile>>& page) {
  if (!page.ok()) return page.status();
  v1::ListFilesResponse message;
  for (const StoredFile& file : page->items) EncodeFile(file, message.add_files());
  message.set_has_more(page->has_more);
  return Serialize(message);
}
StatusOrBytes Sent(const absl::StatusOr<batches::ListPage<StoredBatch>>& page) {
  if (!page.ok()) return page.status();
  v1::ListBatchesResponse message;
  for (const StoredBatch& batch : page->items) EncodeBatch(batch, message.add_batches());
  message.set_has_more(page->has_more);
  return Serialize(message);
}

// --- what is asked of the store ---
StatusOrBytes GetFile(Tables& tables, const std::string& owner, const v1::GetFileRequest& request) {
  return Sent(tables.files.Find(owner, request.id()));
}
StatusOrBytes DeleteFile(Tables& tables, const std::string& owner, const v1::DeleteFileRequest& request) {
  if (absl::Status status = tables.files.Delete(owner, request.id()); !status.ok()) return status;
  return Serialize(v1::DeleteFileResponse());
}
StatusOrBytes ListFiles(Tables& tables, const std::string& owner, const batches::ListQuery& query) {
  return Sent(tables.files.List(owner, query));
}
StatusOrBytes ListBatches(Tables& tables, const std::string& owner, const batches::ListQuery& query) {
  return Sent(tables.batches.List(owner, query));
}
StatusOrBytes CreateBatch(Tables& tables, const std::string& owner, const batches::BatchRequest& wanted) {
  return Sent(batches::CreateBatch(tables, owner, wanted, BatchService::UnixSeconds()));
}
StatusOrBytes GetBatch(Tables& tables, const std::string& owner, const v1::GetBatchRequest& request) {
  return Sent(tables.batches.Find(owner, request.id()));
}
StatusOrBytes CancelBatch(Tables& tables, const std::string& owner, const v1::CancelBatchRequest& request) {
  return Sent(tables.batches.Cancel(owner, request.id(), BatchService::UnixSeconds()));
}

// A message that is asked as it is.
template <typename Request>
absl::StatusOr<Request> AsItIs(const Request& request) {
  return request;
}

// From the bytes of a `Request`, by `read`, to what `ask` asks.
template <typename Request, auto read, auto ask>
absl::StatusOr<UnaryStoreCall::Answer> Decoded(const grpc::ByteBuffer& message, const std::string& owner) {
  Request request;
  if (absl::Status status = ParseMessage(message, &request); !status.ok()) return status;
  auto wanted = read(request);
  if (!wanted.ok()) return wanted.status();
  return [owner, wanted = *std::move(wanted)](Tables& tables) { return ask(tables, owner, wanted); };
}

template <typename Request, auto ask>
constexpr UnaryStoreCall::Decode kPlain = &Decoded<Request, &AsItIs<Request>, ask>;

struct StoreMethod {
  std::string_view route;
  bool wakes;
  UnaryStoreCall::Decode decode;
};

const std::map<std::string_view, StoreMethod>& UnaryMethods() {
  using ReadFiles = absl::StatusOr<batches::ListQuery> (*)(const v1::ListFilesRequest&);
  using ReadBatches = absl::StatusOr<batches::ListQuery> (*)(const v1::ListBatchesRequest&);
  static const auto* const methods = new std::map<std::string_view, StoreMethod>{
      {"/hadal.v1.Batches/GetFile", {"GetFile", false, kPlain<v1::GetFileRequest, &GetFile>}},
      {"/hadal.v1.Batches/DeleteFile", {"DeleteFile", false, kPlain<v1::DeleteFileRequest, &DeleteFile>}},
      {"/hadal.v1.Batches/ListFiles",
       {"ListFiles", false, &Decoded<v1::ListFilesRequest, static_cast<ReadFiles>(&DecodeList), &ListFiles>}},
      {"/hadal.v1.Batches/CreateBatch",
       {"CreateBatch", true, &Decoded<v1::CreateBatchRequest, &DecodeBatch, &CreateBatch>}},
      {"/hadal.v1.Batches/GetBatch", {"GetBatch", false, kPlain<v1::GetBatchRequest, &GetBatch>}},
      {"/hadal.v1.Batches/ListBatches",
       {"ListBatches", false, &Decoded<v1::ListBatchesRequest, static_cast<ReadBatches>(&DecodeList), &ListBatches>}},
      {"/hadal.v1.Batches/CancelBatch", {"CancelBatch", true, kPlain<v1::CancelBatchRequest, &CancelBatch>}},
  };
  return *methods;
}

}  // namespace

std::shared_ptr<ServerCall> MakeBatchCall(const CallEnvironment* environment,
                                          grpc::GenericCallbackServerContext* context) {
  const auto method = UnaryMethods().find(context->method());
  if (method != UnaryMethods().end()) {
    const StoreMethod& found = method->second;
    return std::make_shared<UnaryStoreCall>(environment, context, found.route, found.wakes, found.decode);
  }
  if (context->method() == "/hadal.v1.Batches/UploadFile") return std::make_shared<UploadCall>(environment, context);
  if (context->method() == "/hadal.v1.Batches/DownloadFile") {
    return std::make_shared<DownloadCall>(environment, context);
  }
  return nullptr;
}

}  // namespace hadal::rpc
