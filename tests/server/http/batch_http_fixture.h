// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/batches/batch_service.h"
#include "server/http/batch_executor.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/batch_service.h"
#include "tests/support/temp_folder.h"

namespace hadal::testing {

// An HTTP server that keeps files and batches in a folder of its own. No line runs before RunLines.
class BatchHttpFixture {
 public:
  explicit BatchHttpFixture(batches::BatchOptions options = {}, HttpFixture::Options http_options = {})
      : batches(OpenBatchService(std::move(options), folder_, &metrics_)),
        http(ServiceFixture::Says("</think>42"), With(std::move(http_options), batches.get())) {}
  ~BatchHttpFixture() {
    http.server->Stop();
    batches->Stop();
  }

  void RunLines() { batches->Start(http::MakeBatchExecutor(http.base.service.get(), {}, http::HttpOptions())); }

  // One part of a form; a file where it has a file name.
  static std::string Part(std::string_view name, std::string_view data, std::string_view file_name = {}) {
    std::string part = "--b\r\nContent-Disposition: form-data; name=\"";
    part.append(name).append("\"");
    if (!file_name.empty()) part.append("; filename=\"").append(file_name).append("\"");
    return part.append("\r\n\r\n").append(data).append("\r\n");
  }
  HttpReply PostForm(std::string_view parts, std::string_view headers = {}) {
    const std::string all = absl::StrCat("Content-Type: multipart/form-data; boundary=b\r\n", std::string(headers));
    return http.Do("POST", "/v1/files", std::string(parts) + "--b--\r\n", all);
  }
  // The id of a file with that content.
  std::string Upload(std::string_view content, std::string_view headers = {}) {
    const HttpReply reply = PostForm(Part("purpose", "batch") + Part("file", content, "in.jsonl"), headers);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return HttpFixture::Json(reply).value("id", "");
  }
  int64_t CountFiles() { return testing::CountFiles(*batches); }

 private:
  static HttpFixture::Options With(HttpFixture::Options options, batches::BatchService* batches) {
    options.batches = batches;
    return options;
  }

  const TempFolder folder_;
  batches::BatchMetrics metrics_{nullptr};

 public:
  std::unique_ptr<batches::BatchService> batches;
  HttpFixture http;
};

}  // namespace hadal::testing
