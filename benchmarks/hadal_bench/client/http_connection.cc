// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/http_connection.h"

#include <boost/asio/error.hpp>

namespace hadal::bench {

void HttpConnection::Exchange(std::string request, ExchangeHandler* handler) {
  handler_ = handler;
  request_ = std::move(request);
  parser_ = std::make_unique<ResponseParser>(handler);
  if (connected_) return WriteRequest();
  stream_->Connect(endpoint_, [self = shared_from_this()](ErrorCode error) {
    if (self->handler_ == nullptr) return;  // aborted meanwhile
    if (error) return self->End("connect", error.message());
    self->connected_ = true;
    self->WriteRequest();
  });
}

void HttpConnection::WriteRequest() {
  handler_->OnSent();
  writing_ = true;
  // A write that fails says nothing that the read does not say, and a refusal may come before the whole body is out.
  stream_->Write(request_.data(), request_.size(), [self = shared_from_this()](ErrorCode) { self->writing_ = false; });
  ReadMore();
}

void HttpConnection::ReadMore() {
  stream_->ReadSome(buffer_.data(), buffer_.size(),
                    [self = shared_from_this()](ErrorCode error, size_t bytes) { self->OnRead(error, bytes); });
}

void HttpConnection::OnRead(ErrorCode error, size_t bytes) {
  if (handler_ == nullptr) return;
  if (error) {
    if (parser_->started() && parser_->FeedEnd().ok()) {
      connected_ = false;
      return End("", "");
    }
    return End("connection_lost",
               error == boost::asio::error::eof ? "the server closed the connection" : error.message());
  }
  const absl::Status status = parser_->Feed({buffer_.data(), bytes});
  if (handler_ == nullptr) return;  // the sink aborted the exchange
  if (!status.ok()) return End("bad_response", std::string(status.message()));
  if (parser_->done()) {
    connected_ = parser_->keep_alive();
    return End("", "");
  }
  ReadMore();
}

void HttpConnection::Abort(std::string_view reason, std::string_view message) {
  if (handler_ != nullptr) End(reason, message);
}

void HttpConnection::End(std::string_view reason, std::string_view message) {
  if (!reason.empty() || writing_) connected_ = false;
  if (!connected_) stream_->Close();
  ExchangeHandler* const handler = handler_;
  handler_ = nullptr;
  handler->OnExchangeEnd(reason, message);
}

}  // namespace hadal::bench
