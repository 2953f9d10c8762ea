// SPDX-License-Identifier: Apache-2.0
#include "server/commands/batch_api.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "server/base/notification.h"

namespace hadal::commands {
namespace {

constexpr long kConnectTimeoutS = 10;
constexpr long kStallTimeoutS = 30;
// Of an answer that is kept in memory; descriptions are far shorter.
constexpr size_t kMaxAnswerBytes = size_t{64} << 20;

constexpr long kPartialContent = 206, kRangeNotSatisfiable = 416, kServiceUnavailable = 503;
// Before a download goes on; doubled for each attempt in a row that has brought nothing.
constexpr absl::Duration kFirstPause = absl::Milliseconds(500);
constexpr int kIdleAttempts = 5;

// Whether the URL is this host's own: what http_proxy names may be elsewhere, and would look for the server there.
bool OnLoopback(std::string_view url) {
  url.remove_prefix(std::min(url.find("://") == url.npos ? 0 : url.find("://") + 3, url.size()));
  const std::string_view host = url.substr(0, url.find_first_of("/?"));
  return host.starts_with("127.") || host.starts_with("[::1]") || host == "localhost" || host.starts_with("localhost:");
}

// What the server says of an error, else its bytes.
std::string MessageIn(const std::string& body) {
  const nlohmann::json parsed = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_object() && parsed.contains("error")) {
    const nlohmann::json& error = parsed["error"];
    if (error.is_object() && error.contains("message") && error["message"].is_string()) return error["message"];
  }
  return body.substr(0, 200);
}

}  // namespace

// One exchange.
class BatchApi::Request {
 public:
  Request(const BatchApi& api, const std::string& path)
      : curl_(*api.curl_), handle_(curl_.easy_init()), url_(absl::StrCat(api.options_.url, path)) {
    Set(CURLOPT_URL, url_.c_str());
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_PROTOCOLS_STR, "http,https");
    if (OnLoopback(api.options_.url)) Set(CURLOPT_PROXY, "");
    Set(CURLOPT_CONNECTTIMEOUT, kConnectTimeoutS);
    Set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    Set(CURLOPT_LOW_SPEED_TIME, kStallTimeoutS);
    Set(CURLOPT_ERRORBUFFER, error_);
    Set(CURLOPT_WRITEFUNCTION, &Request::Take);
    Set(CURLOPT_WRITEDATA, this);
    if (!api.options_.ca_file.empty()) Set(CURLOPT_CAINFO, api.options_.ca_file.c_str());
    if (api.options_.insecure) {
      Set(CURLOPT_SSL_VERIFYPEER, 0L);
      Set(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    Add("Expect:");  // nobody waits for a 100
    if (!api.options_.api_key.empty()) Add(absl::StrCat("Authorization: Bearer ", api.options_.api_key));
  }
  ~Request() {
    if (form_ != nullptr) curl_.mime_free(form_);
    curl_.slist_free_all(headers_);
    curl_.easy_cleanup(handle_);
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  void SendJson(std::string body) {
    body_ = std::move(body);
    Add("Content-Type: application/json");
    Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_.size()));
    Set(CURLOPT_POSTFIELDS, body_.c_str());
  }
  void SendFile(const std::string& path) {
    form_ = curl_.mime_init(handle_);
    curl_mimepart* const purpose = curl_.mime_addpart(form_);
    curl_.mime_name(purpose, "purpose");
    curl_.mime_data(purpose, "batch", CURL_ZERO_TERMINATED);
    curl_mimepart* const file = curl_.mime_addpart(form_);
    curl_.mime_name(file, "file");
    curl_.mime_filedata(file, path.c_str());
    curl_.mime_type(file, "application/jsonl");
    Set(CURLOPT_MIMEPOST, form_);
  }
  // A good answer goes there instead of into memory, without its first `from` bytes.
  void ReceiveInto(std::FILE* out, int64_t from) {
    out_ = out;
    if (from > 0) Add(absl::StrCat("Range: bytes=", from, "-"));
    good_status_ = from > 0 ? kPartialContent : 0;
  }
  int64_t received() const { return received_; }
  // The server's own status; 0: there was no answer.
  long Status() const {
    long status = 0;
    curl_.getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
    return status;
  }

  // The body of a good answer; empty when it went elsewhere.
  absl::StatusOr<std::string> Run() {
    Set(CURLOPT_HTTPHEADER, headers_);
    const CURLcode code = curl_.easy_perform(handle_);
    if (write_error_ != 0) {
      return absl::InternalError(absl::StrCat("the answer cannot be written: ", std::strerror(write_error_)));
    }
    if (code != CURLE_OK) {
      const std::string text = error_[0] != '\0' ? error_ : curl_.error_text(code);
      return absl::UnavailableError(absl::StrCat(url_, ": ", text));
    }
    const long status = Status();
    if (!IsGood(status)) {
      return absl::UnknownError(absl::StrCat("the server refuses with ", status, ": ", MessageIn(answer_)));
    }
    return std::move(answer_);
  }

 private:
  template <typename T>
  void Set(CURLoption option, T value) {
    curl_.setopt(handle_, option, value);
  }
  void Add(const std::string& header) { headers_ = curl_.slist_append(headers_, header.c_str()); }
  bool IsGood(long status) const { return good_status_ != 0 ? status == good_status_ : status / 100 == 2; }

  static size_t Take(char* bytes, size_t one, size_t size, void* self) {
    auto& request = *static_cast<Request*>(self);
    if (request.IsGood(request.Status()) && request.out_ != nullptr) {
      const size_t written = std::fwrite(bytes, one, size, request.out_);
      if (written != size) request.write_error_ = errno;
      request.received_ += static_cast<int64_t>(written);
      return written;
    }
    if (request.answer_.size() + size > kMaxAnswerBytes) return 0;
    request.answer_.append(bytes, size);
    return size;
  }

  const upstream::CurlLibrary& curl_;
  CURL* const handle_;
  const std::string url_;
  curl_slist* headers_ = nullptr;
  curl_mime* form_ = nullptr;
  std::string body_, answer_;
  std::FILE* out_ = nullptr;
  long good_status_ = 0;  // 0: any of the good ones
  int64_t received_ = 0;
  int write_error_ = 0;
  char error_[CURL_ERROR_SIZE] = "";
};

namespace {

absl::StatusOr<nlohmann::json> ParseAnswer(absl::StatusOr<std::string> body) {
  if (!body.ok()) return body.status();
  nlohmann::json parsed = nlohmann::json::parse(*body, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return absl::UnknownError("what came is no answer of this API");
  return parsed;
}

}  // namespace

absl::StatusOr<BatchApi> BatchApi::Create(BatchApiOptions options) {
  const absl::StatusOr<const upstream::CurlLibrary*> curl = upstream::LoadCurl();
  if (!curl.ok()) return curl.status();
  options.url = std::string(absl::StripSuffix(options.url, "/"));
  if (options.url.find("://") == options.url.npos) options.url = absl::StrCat("http://", options.url);
  return BatchApi(std::move(options), *curl);
}

absl::StatusOr<nlohmann::json> BatchApi::Upload(const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  Request request(*this, "/v1/files");
  request.SendFile(path);
  return ParseAnswer(request.Run());
}

absl::StatusOr<nlohmann::json> BatchApi::Get(const std::string& path) {
  Request request(*this, path);
  return ParseAnswer(request.Run());
}

absl::StatusOr<nlohmann::json> BatchApi::Post(const std::string& path, const nlohmann::json& body) {
  Request request(*this, path);
  request.SendJson(body.dump());
  return ParseAnswer(request.Run());
}

absl::Status BatchApi::Download(const std::string& path, std::FILE* out) {
  base::Notification stopped;  // by nobody: Ctrl-C ends the process
  int64_t received = 0;
  for (int idle = 0;; ++idle) {
    Request request(*this, path);
    request.ReceiveInto(out, received);
    absl::Status status = request.Run().status();
    if (request.received() > 0) idle = 0;
    received += request.received();
    if (status.ok()) return status;
    const long code = request.Status();
    if (code == kRangeNotSatisfiable && received > 0) return absl::OkStatus();  // only the end was missing
    // It broke off, or the server is not back yet.
    const bool again = received > 0 && (absl::IsUnavailable(status) || code == kServiceUnavailable);
    if (!again || idle == kIdleAttempts) return status;
    stopped.WaitFor(kFirstPause * (1 << idle));
  }
}

}  // namespace hadal::commands
