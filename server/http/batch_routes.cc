// SPDX-License-Identifier: Apache-2.0
#include "server/http/batch_routes.h"

#include <boost/asio/post.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batches/batch_request.h"
#include "server/batches/batch_service.h"
#include "server/batches/content_reader.h"
#include "server/batches/store_error.h"
#include "server/http/byte_range.h"
#include "server/http/codec/batch_codec.h"
#include "server/http/codec/json_writer.h"
#include "server/http/file_upload.h"
#include "server/http/recorded_response.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using batches::BatchService;
using batches::StoredBatch;
using batches::StoredFile;
using batches::Tables;
using request::MakeError;
using request::Reason;

template <typename T>
void AppendList(const batches::ListPage<T>& page, void (*append)(const T&, JsonWriter*), std::string* out) {
  JsonWriter json(out);
  json.BeginObject().Key("object").String("list").Key("data").BeginArray();
  for (const T& item : page.items) append(item, &json);
  json.EndArray();
  const auto id = [&](std::string_view name, bool last) {
    json.Key(name);
    if (page.items.empty()) {
      json.Null();
    } else {
      json.String(last ? page.items.back().id : page.items.front().id);
    }
  };
  id("first_id", false);
  id("last_id", true);
  json.Key("has_more").Bool(page.has_more).EndObject();
}

// What the routes without a body and with one response ask of the store.
absl::Status Answer(const RouteMatch& match, const std::string& owner, const batches::ListQuery& query, Tables& tables,
                    std::string* out) {
  JsonWriter json(out);
  switch (match.route) {
    case Route::kFiles: {
      const absl::StatusOr<batches::ListPage<StoredFile>> page = tables.files.List(owner, query);
      if (page.ok()) AppendList(*page, &AppendFile, out);
      return page.status();
    }
    case Route::kFile: {
      const absl::StatusOr<StoredFile> file = tables.files.Find(owner, match.parameter);
      if (file.ok()) AppendFile(*file, &json);
      return file.status();
    }
    case Route::kDeleteFile: {
      absl::Status status = tables.files.Delete(owner, match.parameter);
      json.BeginObject().Key("id").String(match.parameter).Key("object").String("file");
      json.Key("deleted").Bool(true).EndObject();
      return status;
    }
    case Route::kBatches: {
      const absl::StatusOr<batches::ListPage<StoredBatch>> page = tables.batches.List(owner, query);
      if (page.ok()) AppendList(*page, &AppendBatch, out);
      return page.status();
    }
    case Route::kBatch: {
      const absl::StatusOr<StoredBatch> batch = tables.batches.Find(owner, match.parameter);
      if (batch.ok()) AppendBatch(*batch, &json);
      return batch.status();
    }
    default: {  // kCancelBatch
      const absl::StatusOr<StoredBatch> batch =
          tables.batches.Cancel(owner, match.parameter, BatchService::UnixSeconds());
      if (batch.ok()) AppendBatch(*batch, &json);
      return batch.status();
    }
  }
}

absl::StatusOr<batches::ListQuery> QueryOf(Route route, std::string_view target) {
  if (route == Route::kFiles) return ReadListQuery(target, batches::kMaxFilesInList, batches::kMaxFilesInList);
  if (route == Route::kBatches) return ReadListQuery(target, batches::kBatchesInList, batches::kMaxBatchesInList);
  return batches::ListQuery();
}

asio::awaitable<void> HandleSimple(Connection& connection, const RouteMatch& match, service::CallInfo info) {
  const absl::StatusOr<batches::ListQuery> query = QueryOf(match.route, connection.head().target);
  if (!query.ok()) {
    co_await Refuse(connection, info, query.status());
    co_return;
  }
  Response response;
  const std::function<absl::Status(Tables&)> job = [&](Tables& tables) {
    return Answer(match, info.caller.tenant, *query, tables, &response.body);
  };
  absl::Status status = co_await OnStore(connection, job);
  if (!status.ok()) {
    co_await Refuse(connection, info, std::move(status));
    co_return;
  }
  if (match.route == Route::kCancelBatch) connection.context().dependencies.batches->Wake();
  co_await SendRecorded(connection, info, absl::OkStatus(), std::move(response));
}

asio::awaitable<void> HandleCreate(Connection& connection, service::CallInfo info) {
  RequestBody body;
  absl::Status status = co_await connection.ReadBody(service::SenderOf(info), &body);
  if (connection.disconnected()) {
    RecordGone(connection, info);
    co_return;
  }
  if (status.ok() && body.text.size() > batches::kMaxRequestBytes) {
    status = MakeError(Reason::kBodyTooLarge, absl::StrCat("the body has ", body.text.size(), " bytes; the limit is ",
                                                           batches::kMaxRequestBytes));
  }
  absl::StatusOr<batches::BatchRequest> wanted = batches::BatchRequest();
  if (status.ok()) {
    wanted = DecodeBatchBody(body.text, connection.context().options.max_json_depth);
    status = wanted.status();
  }
  Response response;
  const std::function<absl::Status(Tables&)> job = [&](Tables& tables) -> absl::Status {
    const absl::StatusOr<StoredBatch> made =
        batches::CreateBatch(tables, info.caller.tenant, *wanted, BatchService::UnixSeconds());
    JsonWriter json(&response.body);
    if (made.ok()) AppendBatch(*made, &json);
    return made.status();
  };
  if (status.ok()) {
    status = co_await OnStore(connection, job);
  }
  if (!status.ok()) {
    co_await Refuse(connection, info, std::move(status));
    co_return;
  }
  connection.context().dependencies.batches->Wake();
  co_await SendRecorded(connection, info, absl::OkStatus(), std::move(response));
}

// What a request wants of a file. Its content never changes, so its id is its tag.
ByteRange RangeOf(const Connection& connection, const StoredFile& file, const std::string& tag) {
  const bool of_this = connection.head().if_range.empty() || connection.head().if_range == tag;
  return ParseByteRange(of_this ? connection.head().range : "", file.bytes);
}

// Sends a file's content, a piece at a time: no more than that is in memory, however slow the client reads.
asio::awaitable<void> SendContent(Connection& connection, service::CallInfo info, batches::ContentReader reader,
                                  Headers headers, int code) {
  bool sent = co_await connection.BeginStream("application/octet-stream", std::move(headers), code);
  absl::Status status;
  batches::ContentReader::Piece piece;
  const std::function<absl::Status(Tables&)> read = [&](Tables& tables) {
    absl::StatusOr<batches::ContentReader::Piece> next = reader.Next(tables);
    if (next.ok()) piece = *std::move(next);
    return next.status();
  };
  while (sent && status.ok() && !piece.end) {
    status = co_await OnStore(connection, read);
    if (!status.ok() || piece.bytes.empty()) continue;
    sent = co_await connection.WriteStream(&piece.bytes);
  }
  if (!sent) {
    RecordGone(connection, info);
    co_return;
  }
  connection.context().dependencies.service->Record(info, {.status = status, .code = code});
  if (status.ok()) co_await connection.EndStream(/*complete=*/true);
  // Else the end is missing, by which the client sees that something is wrong.
}

asio::awaitable<void> HandleContent(Connection& connection, const RouteMatch& match, service::CallInfo info) {
  absl::StatusOr<StoredFile> file = absl::UnknownError("not asked");
  const std::function<absl::Status(Tables&)> find = [&](Tables& tables) {
    file = tables.files.Find(info.caller.tenant, match.parameter);
    return file.status();
  };
  absl::Status status = co_await OnStore(connection, find);
  if (!status.ok()) {
    co_await Refuse(connection, info, std::move(status));
    co_return;
  }
  const std::string tag = absl::StrCat("\"", file->id, "\"");
  Headers headers = {{"Accept-Ranges", "bytes"}, {"ETag", tag}};
  if (connection.head().method == "HEAD") {
    Response response;
    response.content_type = "application/octet-stream";
    response.headers = std::move(headers);
    co_await SendRecorded(connection, info, absl::OkStatus(), std::move(response));
    co_return;
  }
  const ByteRange range = RangeOf(connection, *file, tag);
  if (range.kind != ByteRange::Kind::kWhole) headers.emplace_back("Content-Range", ContentRange(range, file->bytes));
  if (range.kind == ByteRange::Kind::kUnsatisfiable) {
    const absl::Status beyond = MakeError(
        Reason::kOutOfRange,
        absl::StrCat("Range: the file has ", file->bytes, " bytes, and '", connection.head().range, "' is behind them"),
        "Range");
    Response response = ErrorResponse(beyond, connection.context().options.overload_http_status);
    response.status = 416;
    response.headers.insert(response.headers.end(), headers.begin(), headers.end());
    co_await SendRecorded(connection, info, beyond, std::move(response));
    co_return;
  }
  const int code = range.kind == ByteRange::Kind::kPart ? 206 : 200;
  co_await SendContent(connection, std::move(info), batches::ContentReader(*std::move(file), range.begin, range.end),
                       std::move(headers), code);
}

}  // namespace

bool IsBatchRoute(Route route) { return route >= Route::kUploadFile && route <= Route::kCancelBatch; }

asio::awaitable<absl::Status> OnStore(Connection& connection, const std::function<absl::Status(Tables&)>& job) {
  struct State {
    absl::Status status;
    bool done = false;  // on the connection's thread
  };
  const auto state = std::make_shared<State>();
  const bool posted = connection.context().dependencies.batches->TryPost(
      [state, event = connection.shared_event(), &job](Tables& tables) mutable {
        state->status = job(tables);
        const asio::any_io_executor executor = event->executor();
        asio::post(executor, [state, event = std::move(event)] {
          state->done = true;
          event->Set();
        });
      });
  if (!posted) co_return service::WorkersBusy();
  while (!state->done) {
    co_await connection.event().Wait();
  }
  co_return batches::ClientError(state->status);
}

asio::awaitable<void> HandleBatchRoute(Connection& connection, const RouteMatch& match, service::CallInfo info) {
  if (connection.context().dependencies.batches == nullptr) {
    co_await Refuse(connection, info, batches::BatchesAreOff());
    co_return;
  }
  switch (match.route) {
    case Route::kUploadFile:
      co_await HandleUpload(connection, info);
      break;
    case Route::kFileContent:
      co_await HandleContent(connection, match, info);
      break;
    case Route::kCreateBatch:
      co_await HandleCreate(connection, info);
      break;
    default:
      co_await HandleSimple(connection, match, info);
  }
}

}  // namespace hadal::http
