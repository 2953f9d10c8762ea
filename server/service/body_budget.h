// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/base/metrics.h"

namespace hadal::service {

// Accounts for the memory of request bodies on both fronts, from their first byte until they have been parsed. A front
// opens a lease before it reads a body, resizes it as the bytes arrive, and passes it with the body to the parser.
//
// Two rules apply to bytes and to uploads (bodies that have not fully arrived):
//   - all senders together stay within the limit;
//   - no sender holds more than is left for all others: a single sender can take half of the limit, the next one half
//   of
//     the rest, so that a newcomer always finds room. (Dynamic thresholds, as used for packet buffers in switches:
//     Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998.) Small bodies are exempt from this rule:
//     behind a proxy without keys all clients are one sender, and ordinary requests must not be blocked by large ones.
//
// A refusal is BODY_BUDGET_FULL with a retry hint. Thread-safe; O(log senders) under one short lock.
class BodyBudget {
 private:
  struct Sender {
    int64_t bytes = 0;
    int64_t uploads = 0;
    int64_t leases = 0;
  };
  using Senders = std::map<std::string, Sender, std::less<>>;

 public:
  struct Options {
    int64_t max_bytes = int64_t{256} << 20;
    int64_t max_uploads = 4096;
    int64_t small_body_bytes = 64 << 10;
    base::MetricRegistry* metrics = nullptr;  // outlives the budget; nullptr: not exported
  };

  // The bytes of one body. Move-only RAII; used by one thread at a time; the budget outlives it.
  class Lease {
   public:
    Lease() = default;  // holds nothing, and can be resized to 0 only
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { Release(); }

    // Sets the memory of the body in bytes. On a refusal the lease keeps its size. Shrinking never fails.
    [[nodiscard]] absl::Status Resize(int64_t bytes);
    // The body is complete: it no longer counts as an upload, its bytes still count.
    void Arrived();
    // The body has been freed.
    void Release();
    int64_t bytes() const { return bytes_; }

   private:
    friend class BodyBudget;
    BodyBudget* budget_ = nullptr;
    Senders::iterator sender_;
    int64_t bytes_ = 0;
    bool upload_ = false;
  };

  explicit BodyBudget(const Options& options);
  BodyBudget(const BodyBudget&) = delete;
  BodyBudget& operator=(const BodyBudget&) = delete;

  // For a body that begins to arrive: counts one upload with no bytes yet. `sender` is a tenant, or an address if there
  // are no keys.
  absl::StatusOr<Lease> Open(std::string_view sender);
  // For a body that is already complete: no upload, and no bytes until Resize. Never refused.
  Lease OpenArrived(std::string_view sender);

  const Options& options() const { return options_; }
  int64_t bytes() const;

 private:
  enum Refusal : size_t { kBytes, kSenderBytes, kSenderUploads };

  Lease NewLease(std::string_view sender) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Refuse(Refusal refusal, std::string_view detail);
  void Drop(Lease& lease);

  const Options options_;
  mutable base::Mutex mutex_;
  Senders senders_ ABSL_GUARDED_BY(mutex_);  // those that hold a lease
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t uploads_ ABSL_GUARDED_BY(mutex_) = 0;

  base::Family<base::Counter> rejections_{options_.metrics,
                                          {.name = "hadal_body_rejections_total",
                                           .help = "Bodies refused for the memory or the uploads of bodies in flight.",
                                           .labels = {"reason"},
                                           .series = {{"bytes"}, {"sender_bytes"}, {"sender_uploads"}}}};
  base::Family<base::Gauge> bytes_gauge_{
      options_.metrics,
      {"hadal_body_bytes_in_flight", "Bytes of request bodies that are arriving or wait to be parsed."}};
  base::Family<base::Gauge> limit_gauge_{options_.metrics,
                                         {"hadal_body_bytes_limit", "Limit of the body bytes in flight."}};
  base::Family<base::Gauge> uploads_gauge_{options_.metrics,
                                           {"hadal_body_uploads", "Request bodies that have not arrived whole."}};
  base::MetricCollector levels_;  // reads the members above
};

}  // namespace hadal::service
