// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/response_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace hadal::bench {
namespace {

namespace beast = boost::beast;
constexpr uint32_t kMaxHeadBytes = 64 << 10;

}  // namespace

std::optional<std::string> ResponseHead::Find(std::string_view name) const {
  for (const auto& [field, value] : fields) {
    if (field == name) return value;
  }
  return std::nullopt;
}

// Beast checks the syntax and finds the parts; they go straight to the sink.
class ResponseParser::Impl final : public beast::http::basic_parser<false> {
 public:
  explicit Impl(ResponseSink* sink) : sink_(sink) {
    eager(true);
    body_limit(boost::none);
    header_limit(kMaxHeadBytes);
  }

  absl::Status Feed(std::string_view bytes) {
    started_ = started_ || !bytes.empty();
    held_ += bytes;
    while (!held_.empty() && !is_done()) {
      beast::error_code error;
      const size_t used = put(boost::asio::buffer(held_), error);
      held_.erase(0, used);
      if (error == beast::http::error::need_more) break;
      if (error) return absl::InvalidArgumentError(absl::StrCat("not an HTTP response: ", error.message()));
      if (used == 0) break;
    }
    return absl::OkStatus();
  }

  absl::Status FeedEnd() {
    if (is_done()) return absl::OkStatus();
    beast::error_code error;
    if (got_some()) put_eof(error);
    if (error || !is_done()) return absl::DataLossError("the connection ended before the response did");
    return absl::OkStatus();
  }

  bool started() const { return started_; }

 private:
  void on_request_impl(beast::http::verb, beast::string_view, beast::string_view, int, beast::error_code&) override {}
  void on_response_impl(int code, beast::string_view, int, beast::error_code&) override { head_.status = code; }
  void on_field_impl(beast::http::field, beast::string_view name, beast::string_view value,
                     beast::error_code&) override {
    std::string lower(name.data(), name.size());
    absl::AsciiStrToLower(&lower);
    head_.fields.emplace_back(std::move(lower), std::string(value.data(), value.size()));
  }
  void on_header_impl(beast::error_code&) override { sink_->OnHead(head_); }
  void on_body_init_impl(const boost::optional<uint64_t>&, beast::error_code&) override {}
  size_t on_body_impl(beast::string_view body, beast::error_code&) override {
    sink_->OnBody({body.data(), body.size()});
    return body.size();
  }
  void on_chunk_header_impl(uint64_t, beast::string_view, beast::error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, beast::string_view body, beast::error_code&) override {
    sink_->OnBody({body.data(), body.size()});
    return body.size();
  }
  void on_finish_impl(beast::error_code&) override {}

  ResponseSink* const sink_;
  ResponseHead head_;
  std::string held_;  // bytes that are not a whole element yet
  bool started_ = false;
};

ResponseParser::ResponseParser(ResponseSink* sink) : impl_(std::make_unique<Impl>(sink)) {}
ResponseParser::~ResponseParser() = default;
absl::Status ResponseParser::Feed(std::string_view bytes) { return impl_->Feed(bytes); }
absl::Status ResponseParser::FeedEnd() { return impl_->FeedEnd(); }
bool ResponseParser::done() const { return impl_->is_done(); }
bool ResponseParser::keep_alive() const { return impl_->keep_alive(); }
bool ResponseParser::started() const { return impl_->started(); }

}  // namespace hadal::bench
