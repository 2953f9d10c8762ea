// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"

namespace hadal::client {

// A file that a server keeps. Times are InfinitePast where there is none.
struct BatchFile {
  std::string id;
  std::string name;
  std::string purpose;  // "batch", or "batch_output" of results
  int64_t bytes = 0;
  absl::Time created, expires;
};

enum class BatchState {
  kUnknown,     // of a newer server
  kValidating,  // the lines of its input are read
  kInProgress,  // and run
  kFinalizing,  // all have ended; results are put together
  kCompleted,
  kFailed,  // its input is not valid: Batch::errors
  kExpired,
  kCancelling,
  kCancelled,
};

// Requests that are answered when there is time.
struct Batch {
  struct Error {
    std::string code;
    std::string message;
    int64_t line = 0;  // of the input, from 1; 0: of the whole
  };

  std::string id;
  std::string endpoint;
  BatchState state = BatchState::kUnknown;
  std::string input_file;
  std::string output_file;  // empty: there is none (yet)
  std::string error_file;   // of the lines that failed
  int64_t total = 0;        // lines
  int64_t completed = 0;
  int64_t failed = 0;
  std::vector<Error> errors;
  std::map<std::string, std::string> metadata;
  absl::Time created, expires, ended;  // `ended`: InfinitePast before

  // Nothing of it will change any more.
  bool HasEnded() const {
    return state == BatchState::kCompleted || state == BatchState::kFailed || state == BatchState::kExpired ||
           state == BatchState::kCancelled;
  }
};

// What is to be uploaded: a text, or a file of this machine, which is read as it is sent (batch_lines.h makes lines).
struct Upload {
  std::string text;
  std::string path;                            // instead of `text` when not empty
  std::string name = "in.jsonl";               // that the server shows
  absl::Duration keep = absl::ZeroDuration();  // for an hour to 30 days; 0: the server's own time
};

struct NewBatch {
  std::string input_file;                              // id; Submit sets it
  std::string endpoint = "/v1/chat/completions";       // or /v1/completions, /v1/responses, /v1/messages
  std::map<std::string, std::string> metadata;         // at most 16, of 64 and 512 bytes
  absl::Duration keep_results = absl::ZeroDuration();  // as Upload::keep
};

struct ListOptions {
  int page_size = 0;          // 0: the server's own
  std::string after;          // id of the last one seen; empty: from the newest on
  bool oldest_first = false;  // of files
  std::string purpose;        // of files; empty: any
};
template <typename T>
struct Page {
  std::vector<T> items;
  bool has_more = false;
};

struct WaitOptions {
  absl::Duration deadline = absl::InfiniteDuration();
  absl::Duration first_interval = absl::Seconds(1);  // between two looks; it doubles
  absl::Duration max_interval = absl::Seconds(30);
  // Gets what each look found; false ends the wait, CANCELLED. On a thread of gRPC: it should not block.
  std::function<bool(const Batch&)> on_progress;
};

// How far a download has come.
struct DownloadProgress {
  int64_t received = 0;  // bytes, from the file's beginning on: where a download would go on
  int64_t total = 0;     // of the whole file; 0 before the first piece, and from servers that do not say it
  int resumed = 0;       // how often it broke off and went on
};

// A file on its way here. It is read piece by piece, and nothing is read ahead. One that breaks off goes on where it
// was, at any server, within its deadline and the retry budget. Destroying it cancels what still runs. It may outlive
// the client. Next is for one thread at a time, Cancel and progress for any.
class Download {
 public:
  // Gets the next bytes, or nullopt: that was the end, and status() says how it came. Pieces of results end with a
  // line.
  using Then = std::function<void(std::optional<std::string>)>;

  virtual ~Download() = default;
  // Calls `then` once, on a thread of gRPC: it should not block there. It may call Next. Not before the last `then` has
  // been called.
  virtual void Next(Then then) = 0;
  virtual void Cancel() = 0;
  // FailedPrecondition before the end. DataLoss when that came before the file's.
  virtual absl::Status status() const = 0;
  virtual DownloadProgress progress() const = 0;
};

// The offline queue of one or several hadal servers (--batch-store). Several must share a store: whichever is the least
// loaded is asked. Connections are shared with a Client of the same options. Errors carry the server's message;
// Unimplemented where the server keeps no files. Thread-safe; calls are independent, and exist in the forms of a
// Client's: with `done`, in a coroutine (batch_coroutine.h), and waiting on the calling thread.
//
// A deadline is of all attempts together. A call that a server refused is made again as RetryOptions say. Where the
// server was lost before it answered, one that could do something twice (an upload whose end was sent; Create,
// DeleteFile) is not made again: Unavailable says that it is not known. The list shows.
class BatchClient {
 public:
  template <typename T>
  using Done = std::function<void(absl::StatusOr<T>)>;  // called once, on a thread of gRPC: it should not block
  using OnStatus = std::function<void(absl::Status)>;   // the same

  // Of `options`: coalesce and cache do not count. Client::Connect's errors.
  static absl::StatusOr<std::unique_ptr<BatchClient>> Connect(const ChannelOptions& options);
  virtual ~BatchClient() = default;

  // NotFound for a path that cannot be read. A server gives an upload an hour.
  virtual void StartUpload(Upload upload, Done<BatchFile> done) = 0;
  virtual void StartGetFile(const std::string& id, Done<BatchFile> done) = 0;
  virtual void StartListFiles(const ListOptions& options, Done<Page<BatchFile>> done) = 0;
  virtual void StartDeleteFile(const std::string& id, OnStatus done) = 0;
  // From byte `offset` on: InvalidArgument behind the file's end.
  virtual std::unique_ptr<Download> StartDownload(const std::string& file, int64_t offset = 0) = 0;

  virtual void StartCreate(const NewBatch& batch, Done<Batch> done) = 0;
  virtual void StartGet(const std::string& id, Done<Batch> done) = 0;
  // The newest first.
  virtual void StartList(const ListOptions& options, Done<Page<Batch>> done) = 0;
  virtual void StartCancel(const std::string& id, Done<Batch> done) = 0;
  // Looks until the batch has ended. A server that cannot be reached, or is busy, meanwhile is waited for.
  virtual void StartWait(const std::string& id, const WaitOptions& options, Done<Batch> done) = 0;
  // Upload, then Create. Of a batch that the server refuses for good the file is deleted again.
  virtual void StartSubmit(Upload upload, const NewBatch& batch, Done<Batch> done) = 0;

  absl::StatusOr<BatchFile> UploadFile(Upload upload);
  absl::StatusOr<BatchFile> GetFile(const std::string& id);
  absl::StatusOr<Page<BatchFile>> ListFiles(const ListOptions& options = {});
  absl::Status DeleteFile(const std::string& id);
  absl::StatusOr<Batch> Create(const NewBatch& batch);
  absl::StatusOr<Batch> Get(const std::string& id);
  absl::StatusOr<Page<Batch>> List(const ListOptions& options = {});
  absl::StatusOr<Batch> Cancel(const std::string& id);
  absl::StatusOr<Batch> Wait(const std::string& id, const WaitOptions& options = {});
  absl::StatusOr<Batch> Submit(Upload upload, const NewBatch& batch);
  // Gives each piece of a file, and how far it has come with that; false ends it, CANCELLED.
  using OnPiece = std::function<bool(std::string_view bytes, const DownloadProgress& progress)>;
  absl::Status ReadFile(const std::string& file, const OnPiece& on_piece, int64_t offset = 0);
  absl::Status ReadFile(const std::string& file, const std::function<bool(std::string_view bytes)>& on_piece);
  // Gives each line of the results of a batch that has ended, those that failed last: JSON without its line end.
  absl::Status ReadResults(const Batch& batch, const std::function<bool(std::string_view line, bool failed)>& on_line);
};

}  // namespace hadal::client
