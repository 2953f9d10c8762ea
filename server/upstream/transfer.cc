// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/transfer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/base/strings.h"

namespace hadal::upstream {
namespace {

absl::Time Now() { return base::Clock::Real()->Now(); }

}  // namespace

std::string_view TransferHead::Find(std::string_view name) const {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

Transfer::Transfer(const CurlLibrary* curl, TransferRequest request, std::shared_ptr<TransferListener> listener)
    : curl_(curl), request_(std::move(request)), listener_(std::move(listener)) {}

Transfer::~Transfer() {
  if (handle_ != nullptr) curl_->easy_cleanup(handle_);
  curl_->slist_free_all(fields_);
}

bool Transfer::AddField(const std::string& line) {
  curl_slist* const longer = curl_->slist_append(fields_, line.c_str());
  if (longer == nullptr) return false;
  fields_ = longer;
  return true;
}

absl::Status Transfer::Prepare(const std::string& user_agent) {
  handle_ = curl_->easy_init();
  bool ok = handle_ != nullptr;
  // A long body would wait a second for servers that do not know 100 Continue.
  ok = ok && AddField("Expect:");
  for (const auto& [name, value] : request_.fields) ok = ok && AddField(absl::StrCat(name, ": ", value));
  const auto set = [&](CURLoption option, auto value) { ok = ok && curl_->setopt(handle_, option, value) == CURLE_OK; };
  set(CURLOPT_URL, request_.url.c_str());
  set(CURLOPT_POST, 1L);
  set(CURLOPT_POSTFIELDS, request_.body->data());
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body->size()));
  set(CURLOPT_HTTPHEADER, fields_);
  set(CURLOPT_USERAGENT, user_agent.c_str());
  // A paused stream of HTTP/2 would go on filling a window of 32 MB.
  set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_PROXY, "");  // whatever the environment says: keys and prompts go to the target alone
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // the end of a transfer does not wait for its name to be resolved
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(request_.connect_timeout)));
  if (!request_.ca_file.empty()) set(CURLOPT_CAINFO, request_.ca_file.c_str());
  set(CURLOPT_HEADERFUNCTION, &Transfer::OnHeaderLine);
  set(CURLOPT_HEADERDATA, this);
  set(CURLOPT_WRITEFUNCTION, &Transfer::OnBytes);
  set(CURLOPT_WRITEDATA, this);
  set(CURLOPT_PRIVATE, this);
  set(CURLOPT_ERRORBUFFER, error_text_.data());
  return ok ? absl::OkStatus() : absl::InternalError("libcurl could not set a transfer up");
}

size_t Transfer::OnHeaderLine(char* data, size_t size, size_t count, void* self) {
  static_cast<Transfer*>(self)->TakeLine({data, size * count});
  return size * count;
}

void Transfer::TakeLine(std::string_view line) {
  if (head_told_) return;  // trailers
  if (line.starts_with("HTTP/")) {
    head_ = {};
    return;
  }
  const std::string_view text = base::StdView(absl::StripAsciiWhitespace(base::View(line)));
  if (text.empty()) {
    long status = 0;
    curl_->getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) return;  // another head follows
    head_.status = static_cast<int>(status);
    head_told_ = true;
    listener_->OnHead(std::move(head_));
    return;
  }
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return;
  head_.fields.emplace_back(absl::AsciiStrToLower(base::View(text.substr(0, colon))),
                            absl::StripAsciiWhitespace(base::View(text.substr(colon + 1))));
}

size_t Transfer::OnBytes(char* data, size_t size, size_t count, void* self) {
  auto* const transfer = static_cast<Transfer*>(self);
  const size_t bytes = size * count;
  transfer->last_byte_ = Now();
  if (bytes == 0) return 0;
  transfer->body_begun_ = true;
  switch (transfer->listener_->OnBody({data, bytes})) {
    case TransferListener::Taken::kAll:
      return bytes;
    case TransferListener::Taken::kNothing:
      transfer->paused_ = true;
      return CURL_WRITEFUNC_PAUSE;
    case TransferListener::Taken::kStop:
      return 0;
  }
  return 0;
}

void Transfer::Resume() {
  if (!std::exchange(paused_, false)) return;
  last_byte_ = Now();
  curl_->easy_pause(handle_, CURLPAUSE_CONT);
}

absl::Time Transfer::DueAt(absl::Time end_all_by) const {
  absl::Time due = std::min(request_.end_by, end_all_by);
  if (!body_begun_) {
    due = std::min(due, request_.first_byte_by);
  } else if (!paused_) {
    due = std::min(due, last_byte_ + request_.stall_timeout);
  }
  return due;
}

TransferEnd Transfer::DueEnd(absl::Time now, absl::Time end_all_by) const {
  if (now >= std::min(request_.end_by, end_all_by)) return {TransferEnd::Kind::kExpired, "its time is over"};
  if (!body_begun_) return {TransferEnd::Kind::kTimeout, "no byte of an answer came in time"};
  return {TransferEnd::Kind::kTimeout, absl::StrCat("no byte came for ", absl::FormatDuration(request_.stall_timeout))};
}

TransferEnd Transfer::EndOf(CURLcode code) const {
  const std::string text = error_text_[0] != '\0' ? error_text_.data() : curl_->error_text(code);
  switch (code) {
    case CURLE_OK:
      return {};
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:  // only connecting is given a time
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
      return {TransferEnd::Kind::kUnreachable, text};
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
      return {TransferEnd::Kind::kMalformed, text};
    default:
      return {TransferEnd::Kind::kBroken, text};
  }
}

}  // namespace hadal::upstream
