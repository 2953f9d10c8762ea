// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/models/start_rate.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "benchmarks/models/dummy_checkpoint.h"
#include "benchmarks/models/rate_subject.h"
#include "kernels/backend.h"
#include "models/registry.h"
#include "models/status_macros.h"
#include "models/warm_up.h"

namespace hadal::models {
namespace {

constexpr int64_t kPieceBytes = int64_t{8} << 20;
constexpr int kMostReaders = 8;

// Forgets the pages of a file, which must be on the disk for that.
absl::Status DropPages(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool dropped = file >= 0 && fdatasync(file) == 0 && posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0;
  if (file >= 0) close(file);
  return dropped ? absl::OkStatus() : absl::InternalError(absl::StrCat(path, ": its pages stay in memory"));
}

// What several threads reach that read all files, bytes a second.
absl::StatusOr<double> ReadAll(const DummyCheckpoint& written, bool cold) {
  if (cold) {
    for (const std::string& path : written.files) HADAL_RETURN_IF_ERROR(DropPages(path));
  }
  struct Piece {
    int file = -1;
    int64_t offset = 0;
  };
  std::vector<Piece> pieces;
  std::vector<int> files;
  for (const std::string& path : written.files) {
    files.push_back(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path));
    for (int64_t offset = 0; offset < bytes; offset += kPieceBytes) pieces.push_back({files.back(), offset});
  }
  std::atomic<size_t> next{0};
  std::atomic<int64_t> read{0};
  const auto work = [&] {
    std::vector<char> buffer(static_cast<size_t>(kPieceBytes));
    for (size_t i = next++; i < pieces.size(); i = next++) {
      read += std::max<int64_t>(0, pread(pieces[i].file, buffer.data(), buffer.size(), pieces[i].offset));
    }
  };
  const RateClock::time_point begin = RateClock::now();
  std::vector<std::thread> readers;
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < std::min<unsigned>(kMostReaders, cores); ++i) readers.emplace_back(work);
  for (std::thread& reader : readers) reader.join();
  const double seconds = Seconds(begin);
  for (const int file : files) close(file);
  if (read < written.bytes) return absl::DataLossError("a file that was written could not be read");
  return static_cast<double>(read) / seconds;
}

// Bytes a second from pageable memory, as mapped weights are.
absl::StatusOr<double> UploadRate(const RateOptions& options) {
  HADAL_ASSIGN_OR_RETURN(const auto backend, kernels::CreateBackend(options.device, {}));
  const std::vector<char> host(static_cast<size_t>(std::min<int64_t>(options.copy_bytes, int64_t{1} << 30)), 1);
  HADAL_ASSIGN_OR_RETURN(const kernels::Buffer target, backend->Allocate(static_cast<int64_t>(host.size())));
  double best = 1e30;
  for (int round = 0; round <= options.runs; ++round) {
    const RateClock::time_point begin = RateClock::now();
    HADAL_RETURN_IF_ERROR(backend->Upload(target.data(), host.data(), static_cast<int64_t>(host.size())));
    HADAL_RETURN_IF_ERROR(backend->Synchronize());
    best = std::min(best, Seconds(begin));
  }
  return static_cast<double>(host.size()) / best;
}

}  // namespace

absl::Status MeasureStart(const std::string& dir, const RateOptions& options, const StartOptions& start,
                          const RateSink& sink) {
  const bool own_memory = !absl::StartsWith(options.device, "cpu");
  RateClock::time_point begin = RateClock::now();
  HADAL_ASSIGN_OR_RETURN(const DummyCheckpoint written, WriteDummyCheckpoint(dir, start.folder, start.most_bytes));
  const double write_s = Seconds(begin);
  HADAL_ASSIGN_OR_RETURN(const double read_rate, ReadAll(written, start.cold));
  if (start.cold) {
    for (const std::string& path : written.files) HADAL_RETURN_IF_ERROR(DropPages(path));
  }

  LoadOptions load;
  load.dir = start.folder;
  load.name = std::filesystem::path(dir).lexically_normal().filename();
  load.device = options.device;
  load.max_model_len = options.context_tokens;
  load.max_batch_tokens = options.context_tokens;
  load.max_batch_size = 1;
  begin = RateClock::now();
  HADAL_ASSIGN_OR_RETURN(std::unique_ptr<Model> loaded, LoadModel(load));
  const double load_s = Seconds(begin);
  HADAL_ASSIGN_OR_RETURN(RateSubject subject,
                         RateSubject::Create(std::move(loaded), 1, options.context_tokens, options.context_tokens));
  HADAL_RETURN_IF_ERROR(WarmUp(subject.model(), {load.max_batch_tokens, 1, subject.cache(), own_memory}).status());
  const double warm_s = Seconds(begin) - load_s;
  HADAL_RETURN_IF_ERROR(subject.Run(subject.Build(0, 1, 0, 1, subject.ColumnsOf(options.context_tokens), false)));
  const double seconds = Seconds(begin);

  double limit = read_rate, upload_rate = 0;
  if (own_memory) {
    HADAL_ASSIGN_OR_RETURN(upload_rate, UploadRate(options));
    limit = std::min(limit, upload_rate);
  }
  const double moving_s = own_memory ? seconds - warm_s : seconds;
  const double rate = static_cast<double>(written.bytes) / moving_s;
  sink(absl::StrFormat(
      R"({"model": "%s", "device": "%s", "measure": "load", "cold": %s, "layers": %d, "of_layers": %d, "file_gb": %.4f, )"
      R"("seconds": %.4f, "load_s": %.4f, "warm_up_s": %.4f, "step_s": %.4f, "gb_s": %.3f, "read_gb_s": %.3f, )"
      R"("upload_gb_s": %.3f, "share": %.4f, "write_s": %.2f})",
      load.name, subject.model().info().device, start.cold ? "true" : "false", written.layers, written.of_layers,
      1e-9 * static_cast<double>(written.bytes), seconds, load_s, warm_s, seconds - load_s - warm_s, 1e-9 * rate,
      1e-9 * read_rate, 1e-9 * upload_rate, rate / limit, write_s));
  return absl::OkStatus();
}

}  // namespace hadal::models
