// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "client/batch_client.h"
#include "client/coroutine.h"

namespace hadal::client {

// The calls of a BatchClient to co_await, as coroutine.h says. `client` and `download` are borrowed until the coroutine
// goes on. Give structs by name, not in braces: g++ 12 destroys temporaries of a co_await's arguments twice.

inline Awaitable<absl::StatusOr<BatchFile>> UploadFile(BatchClient& client, Upload upload) {
  return Awaitable<absl::StatusOr<BatchFile>>(
      [&client, upload = std::move(upload)](auto done) { client.StartUpload(upload, std::move(done)); });
}
inline Awaitable<absl::StatusOr<BatchFile>> GetFile(BatchClient& client, std::string id) {
  return Awaitable<absl::StatusOr<BatchFile>>(
      [&client, id = std::move(id)](auto done) { client.StartGetFile(id, std::move(done)); });
}
inline Awaitable<absl::StatusOr<Page<BatchFile>>> ListFiles(BatchClient& client, ListOptions options) {
  return Awaitable<absl::StatusOr<Page<BatchFile>>>(
      [&client, options = std::move(options)](auto done) { client.StartListFiles(options, std::move(done)); });
}
inline Awaitable<absl::Status> DeleteFile(BatchClient& client, std::string id) {
  return Awaitable<absl::Status>(
      [&client, id = std::move(id)](auto done) { client.StartDeleteFile(id, std::move(done)); });
}
inline Awaitable<std::optional<std::string>> Next(Download& download) {
  return Awaitable<std::optional<std::string>>([&download](auto then) { download.Next(std::move(then)); });
}

inline Awaitable<absl::StatusOr<Batch>> Create(BatchClient& client, NewBatch batch) {
  return Awaitable<absl::StatusOr<Batch>>(
      [&client, batch = std::move(batch)](auto done) { client.StartCreate(batch, std::move(done)); });
}
inline Awaitable<absl::StatusOr<Batch>> Get(BatchClient& client, std::string id) {
  return Awaitable<absl::StatusOr<Batch>>(
      [&client, id = std::move(id)](auto done) { client.StartGet(id, std::move(done)); });
}
inline Awaitable<absl::StatusOr<Page<Batch>>> List(BatchClient& client, ListOptions options) {
  return Awaitable<absl::StatusOr<Page<Batch>>>(
      [&client, options = std::move(options)](auto done) { client.StartList(options, std::move(done)); });
}
inline Awaitable<absl::StatusOr<Batch>> Cancel(BatchClient& client, std::string id) {
  return Awaitable<absl::StatusOr<Batch>>(
      [&client, id = std::move(id)](auto done) { client.StartCancel(id, std::move(done)); });
}
inline Awaitable<absl::StatusOr<Batch>> Wait(BatchClient& client, std::string id, WaitOptions options) {
  return Awaitable<absl::StatusOr<Batch>>([&client, id = std::move(id), options = std::move(options)](auto done) {
    client.StartWait(id, options, std::move(done));
  });
}
inline Awaitable<absl::StatusOr<Batch>> Submit(BatchClient& client, Upload upload, NewBatch batch) {
  return Awaitable<absl::StatusOr<Batch>>([&client, upload = std::move(upload), batch = std::move(batch)](auto done) {
    client.StartSubmit(upload, batch, std::move(done));
  });
}

}  // namespace hadal::client
