// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/base/notification.h"
#include "server/service/call_pipeline.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::testing {

inline constexpr std::string_view kPipelineRoute = "/test";

// Blocks whoever waits until it is opened.
class Gate {
 public:
  void Wait() {
    waiting_.store(true);
    open_.WaitFor(absl::InfiniteDuration());
  }
  void Open() { open_.Notify(); }
  void AwaitVisitor() const {
    while (!waiting_.load()) std::this_thread::yield();
  }

 private:
  base::Notification open_;  // ThreadSanitizer cannot see the order that std::future makes
  std::atomic<bool> waiting_{false};
};

inline service::GenerateCall Complete(std::string text) {
  service::GenerateCall call;
  call.prompt = std::move(text);
  call.options.stopping.max_tokens = 16;
  return call;
}

inline service::DecodedRequest Prompts(std::vector<std::string> texts) {
  service::DecodedRequest request;
  for (std::string& text : texts) request.calls.emplace_back(Complete(std::move(text)));
  request.body_bytes = 100;
  return request;
}

inline service::CallPipeline::Decode Decodes(std::vector<std::string> texts) {
  return [texts = std::move(texts)]() -> absl::StatusOr<service::DecodedRequest> { return Prompts(texts); };
}

inline service::CallInfo Info(service::Protocol protocol = service::Protocol::kGrpc) {
  service::CallInfo info;
  info.protocol = protocol;
  info.route = kPipelineRoute;
  info.request_id = "r";
  info.arrival = base::Clock::Real()->Now();
  return info;
}

// A front of service::CallPipeline: counts what it is told, and reads until the end.
struct PipelineFront {
  explicit PipelineFront(ServiceFixture& fixture, service::CallInfo info = Info())
      : pipeline(
            service::CallPipeline::Create(fixture.service.get(), std::move(info), [count = notified] { ++*count; })) {}
  ~PipelineFront() {
    pipeline->Finish(request::MakeError(request::Reason::kInternal, "the test has not finished it"), 13);
  }

  void AdmitAndSubmit(service::CallPipeline::Decode decode) {
    ASSERT_OK(pipeline->Admit(100));
    pipeline->Submit(std::move(decode));
  }
  service::CallPipeline::Progress Read() {
    return pipeline->Read([&](size_t index, const service::ActiveCall&, service::CallUpdate&& update) {
      if (texts.size() <= index) texts.resize(index + 1);
      for (const service::ChoiceDelta& delta : update.deltas) texts[index] += delta.text;
    });
  }
  // Reads only when told to, as fronts do.
  absl::Status ReadToEnd() {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    int seen = 0;
    while (std::chrono::steady_clock::now() < give_up) {
      const int now = notified->load();
      if (now == seen) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        continue;
      }
      seen = now;
      if (Read() == service::CallPipeline::Progress::kEnded) return pipeline->status();
    }
    return absl::DeadlineExceededError("the pipeline did not end");
  }
  bool AwaitProgress(service::CallPipeline::Progress wanted) const {
    for (int i = 0; i < 20000 && pipeline->progress() != wanted; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return pipeline->progress() == wanted;
  }

  std::shared_ptr<std::atomic<int>> notified = std::make_shared<std::atomic<int>>(0);
  std::vector<std::string> texts;
  std::shared_ptr<service::CallPipeline> pipeline;
};

// How often requests of the test's route were recorded with that in their labels; "" is any.
inline int Recorded(ServiceFixture& fixture, std::string_view label = "") {
  double sum = 0;
  const std::string text = fixture.metrics.Expose();
  const std::string prefix = "hadal_requests_total{route=\"" + std::string(kPipelineRoute) + "\"";
  for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at + 1)) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    if (line.find(label) != std::string::npos) sum += std::atof(line.c_str() + line.rfind(' '));
  }
  return static_cast<int>(sum);
}

inline ServiceFixture::Options OneWorker(size_t max_jobs = 256) {
  ServiceFixture::Options options;
  options.worker_threads = 1;
  options.max_worker_jobs = max_jobs;
  return options;
}

inline Script Hold(const request::Request&) {
  Script script;
  script.hold = true;
  return script;
}

}  // namespace hadal::testing
