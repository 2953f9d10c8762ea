// SPDX-License-Identifier: Apache-2.0
#include "client/load_report.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace hadal::client {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;

// map<string, double> named_metrics = 8, of orca_load_report.proto; its key and value.
constexpr uint32_t kNamedMetrics = 8 << 3 | WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
constexpr uint32_t kKey = 1 << 3 | WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
constexpr uint32_t kValue = 2 << 3 | WireFormatLite::WIRETYPE_FIXED64;

bool ReadText(CodedInputStream* in, std::string* text) {
  uint32_t size = 0;
  return in->ReadVarint32(&size) && in->ReadString(text, static_cast<int>(size));
}

bool ReadMetric(std::string_view bytes, std::string* name, double* value) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  *value = 0;
  while (const uint32_t tag = in.ReadTag()) {
    uint64_t bits = 0;
    if (tag == kKey) {
      if (!ReadText(&in, name)) return false;
    } else if (tag == kValue) {
      if (!in.ReadLittleEndian64(&bits)) return false;
      *value = WireFormatLite::DecodeDouble(bits);
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return false;
    }
  }
  return in.ConsumedEntireMessage();
}

}  // namespace

double RequestsOf(const v1::GetLoadResponse& load) {
  return (load.ready() && !load.draining() ? 0 : kUnfit) + load.requests_running() + load.requests_waiting();
}

std::optional<double> RequestsOfReport(std::string_view value) {
  constexpr absl::string_view kFormat = "BIN ";
  absl::string_view base64(value.data(), value.size());
  std::string report;
  if (!absl::ConsumePrefix(&base64, kFormat) || !absl::Base64Unescape(base64, &report)) return std::nullopt;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(report.data()), static_cast<int>(report.size()));
  double requests = 0;
  bool counts = false;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag != kNamedMetrics) {
      if (!WireFormatLite::SkipField(&in, tag)) return std::nullopt;
      continue;
    }
    std::string bytes, name;
    double value = 0;
    if (!ReadText(&in, &bytes) || !ReadMetric(bytes, &name, &value)) return std::nullopt;
    if (!std::isfinite(value) || value < 0) continue;
    if (name == "num_requests_running" || name == "num_requests_waiting") {
      counts = true;
      requests += value;
    } else if (name == "not_ready" && value > 0) {
      requests += kUnfit;
    }
  }
  return counts && in.ConsumedEntireMessage() ? std::optional(requests) : std::nullopt;
}

}  // namespace hadal::client
