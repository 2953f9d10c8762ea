// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/span.h"

namespace hadal::trace {

// The way to a collector. Send is for one thread at a time, Cancel for any.
class SpanClient {
 public:
  virtual ~SpanClient() = default;
  // What it is called in messages.
  virtual const std::string& name() const = 0;
  // Blocks for at most `timeout`. How many of the spans the collector has refused, or why none arrived.
  virtual absl::StatusOr<int64_t> Send(const std::vector<base::Span>& spans, absl::Duration timeout) = 0;
  // Ends a Send that is under way, and every later one at once.
  virtual void Cancel() = 0;
};

// What the spans are of.
struct ServiceIdentity {
  std::string name;         // service.name
  std::string version;      // service.version
  std::string instance_id;  // service.instance.id: unique among the service's replicas
};

// Where spans go.
struct Collector {
  std::string endpoint;  // host:port
  bool tls = false;
  std::string authorities;  // PEM text of the authorities that may sign its certificate; empty: those of the system
};

// OTLP over gRPC. Connects when it first sends, and again by itself.
std::unique_ptr<SpanClient> MakeOtlpClient(const Collector& collector, ServiceIdentity identity);

}  // namespace hadal::trace
