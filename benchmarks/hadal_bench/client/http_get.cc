// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "benchmarks/hadal_bench/client/http_address.h"
#include "benchmarks/hadal_bench/client/http_connection.h"
#include "benchmarks/hadal_bench/client/http_transport.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

constexpr size_t kMaxBodyBytes = 4 << 20;

// Collects a whole response.
class Collector final : public ExchangeHandler {
 public:
  void OnSent() override {}
  void OnHead(const ResponseHead& head) override {
    answer.status = head.status;
    answer.location = head.Find("location").value_or("");
  }
  void OnBody(std::string_view bytes) override {
    if (answer.body.size() < kMaxBodyBytes) answer.body += bytes;
  }
  void OnExchangeEnd(std::string_view reason, std::string_view message) override {
    ended = true;
    if (!reason.empty()) failure = absl::StrCat(base::View(message));
  }

  HttpAnswer answer;
  bool ended = false;
  std::string failure;
};

}  // namespace

absl::StatusOr<HttpAnswer> HttpGet(const Target& target, const std::string& path, const std::string& api_key,
                                   const std::vector<HeaderField>& headers, double timeout_s) {
  boost::asio::io_context io;
  const auto endpoint = ResolveAddress(&io, target);
  if (!endpoint.ok()) return endpoint.status();
  const auto streams = StreamsFor(&io, target);
  if (!streams.ok()) return streams.status();
  std::string request = absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: ", target.HostField(), "\r\n");
  if (!api_key.empty()) absl::StrAppend(&request, "Authorization: Bearer ", api_key, "\r\n");
  for (const HeaderField& field : headers) absl::StrAppend(&request, field.name, ": ", field.value, "\r\n");
  absl::StrAppend(&request, "User-Agent: hadal-bench\r\nConnection: close\r\n\r\n");

  Collector collector;
  const auto connection = std::make_shared<HttpConnection>((*streams)->Make(), *endpoint);
  connection->Exchange(std::move(request), &collector);
  io.run_for(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(timeout_s)));
  if (!collector.ended) {
    connection->Abort("timeout", absl::StrCat("no answer within ", timeout_s, " s"));
    io.run();
  }
  if (!collector.failure.empty()) {
    return absl::UnavailableError(absl::StrCat(target.Authority(), ": ", collector.failure));
  }
  return std::move(collector.answer);
}

}  // namespace hadal::bench
