// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/upstream/curl_library.h"
#include "server/upstream/transfer_loop.h"

namespace hadal::upstream {

// One transfer of the loop: libcurl's handle, and what its callbacks tell the listener. On the loop's thread only.
class Transfer {
 public:
  Transfer(const CurlLibrary* curl, TransferRequest request, std::shared_ptr<TransferListener> listener);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Sets the handle up. Internal when libcurl has no memory or knows an option not.
  absl::Status Prepare(const std::string& user_agent);
  CURL* handle() const { return handle_; }
  TransferListener& listener() { return *listener_; }

  void Resume();
  // When it ends without a byte, and as what.
  absl::Time DueAt(absl::Time end_all_by) const;
  TransferEnd DueEnd(absl::Time now, absl::Time end_all_by) const;
  // What libcurl's result means.
  TransferEnd EndOf(CURLcode code) const;

 private:
  static size_t OnHeaderLine(char* data, size_t size, size_t count, void* self);
  static size_t OnBytes(char* data, size_t size, size_t count, void* self);
  void TakeLine(std::string_view line);
  bool AddField(const std::string& line);

  const CurlLibrary* const curl_;
  const TransferRequest request_;
  const std::shared_ptr<TransferListener> listener_;
  CURL* handle_ = nullptr;
  curl_slist* fields_ = nullptr;
  TransferHead head_;
  bool head_told_ = false;
  bool body_begun_ = false;
  bool paused_ = false;
  absl::Time last_byte_;
  std::array<char, CURL_ERROR_SIZE> error_text_{};
};

}  // namespace hadal::upstream
