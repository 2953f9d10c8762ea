// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/transfer_loop.h"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/base/clock.h"
#include "server/upstream/curl_library.h"
#include "server/upstream/transfer.h"

namespace hadal::upstream {
namespace {

// Idle connections that are kept, over all targets.
constexpr long kKeptConnections = 64;
// An idle loop looks at its clock now and then all the same.
constexpr absl::Duration kLongestPoll = absl::Seconds(60);

}  // namespace

class TransferLoop::Impl {
 public:
  Impl(const CurlLibrary* curl, CURLM* multi, std::string user_agent)
      : curl_(curl), multi_(multi), user_agent_(std::move(user_agent)), thread_([this] { Run(); }) {}
  ~Impl();

  void Post(std::function<void()> work);
  uint64_t Begin(TransferRequest request, std::shared_ptr<TransferListener> listener);
  void Resume(uint64_t number);
  void Cancel(uint64_t number) { Remove(number); }
  void EndAllBy(absl::Time end) { end_all_by_ = std::min(end_all_by_, end); }

 private:
  void Run();
  // False when the loop ends.
  bool RunPosted();
  void EndFinished();
  void EndOverdue();
  int PollMilliseconds() const;
  // Takes it out of the loop; null when it is not there.
  std::unique_ptr<Transfer> Remove(uint64_t number);
  void End(uint64_t number, const TransferEnd& end);

  const CurlLibrary* const curl_;
  CURLM* const multi_;
  const std::string user_agent_;

  // On the loop's thread only.
  std::map<uint64_t, std::unique_ptr<Transfer>> transfers_;
  uint64_t last_number_ = 0;
  absl::Time end_all_by_ = absl::InfiniteFuture();

  base::Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;
};

TransferLoop::Impl::~Impl() {
  {
    base::MutexLock lock(&mutex_);
    stop_ = true;
  }
  curl_->wakeup(multi_);
  thread_.join();
  while (!transfers_.empty()) Remove(transfers_.begin()->first);
  curl_->multi_cleanup(multi_);
}

void TransferLoop::Impl::Post(std::function<void()> work) {
  {
    base::MutexLock lock(&mutex_);
    posted_.push_back(std::move(work));
  }
  curl_->wakeup(multi_);
}

void TransferLoop::Impl::Run() {
  while (RunPosted()) {
    int running = 0;
    curl_->perform(multi_, &running);
    EndFinished();
    EndOverdue();
    curl_->poll(multi_, nullptr, 0, PollMilliseconds(), nullptr);
  }
}

bool TransferLoop::Impl::RunPosted() {
  std::vector<std::function<void()>> posted;
  {
    base::MutexLock lock(&mutex_);
    if (stop_) return false;
    posted.swap(posted_);
  }
  for (std::function<void()>& work : posted) {
    work();
    work = nullptr;  // before the next one: what it held may be waited for
  }
  return true;
}

uint64_t TransferLoop::Impl::Begin(TransferRequest request, std::shared_ptr<TransferListener> listener) {
  const uint64_t number = ++last_number_;
  auto transfer = std::make_unique<Transfer>(curl_, std::move(request), listener);
  absl::Status status = transfer->Prepare(user_agent_);
  if (status.ok() && curl_->add_handle(multi_, transfer->handle()) != CURLM_OK) {
    status = absl::InternalError("libcurl took no more transfers");
  }
  if (status.ok()) {
    transfers_[number] = std::move(transfer);
  } else {
    // Later, as for every other end.
    Post([listener = std::move(listener), text = std::string(status.message())] {
      listener->OnEnd({TransferEnd::Kind::kUnreachable, text});
    });
  }
  return number;
}

void TransferLoop::Impl::Resume(uint64_t number) {
  const auto found = transfers_.find(number);
  if (found != transfers_.end()) found->second->Resume();
}

std::unique_ptr<Transfer> TransferLoop::Impl::Remove(uint64_t number) {
  const auto found = transfers_.find(number);
  if (found == transfers_.end()) return nullptr;
  std::unique_ptr<Transfer> transfer = std::move(found->second);
  transfers_.erase(found);
  curl_->remove_handle(multi_, transfer->handle());
  return transfer;
}

void TransferLoop::Impl::End(uint64_t number, const TransferEnd& end) {
  const std::unique_ptr<Transfer> transfer = Remove(number);
  if (transfer != nullptr) transfer->listener().OnEnd(end);
}

void TransferLoop::Impl::EndFinished() {
  // Collected first: what a listener does may change libcurl's list.
  std::vector<std::pair<uint64_t, TransferEnd>> ended;
  int left = 0;
  while (const CURLMsg* const message = curl_->info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    for (const auto& [number, transfer] : transfers_) {
      if (transfer->handle() == message->easy_handle) ended.emplace_back(number, transfer->EndOf(message->data.result));
    }
  }
  for (const auto& [number, end] : ended) End(number, end);
}

void TransferLoop::Impl::EndOverdue() {
  const absl::Time now = base::Clock::Real()->Now();
  std::vector<std::pair<uint64_t, TransferEnd>> ended;
  for (const auto& [number, transfer] : transfers_) {
    if (now >= transfer->DueAt(end_all_by_)) ended.emplace_back(number, transfer->DueEnd(now, end_all_by_));
  }
  for (const auto& [number, end] : ended) End(number, end);
}

int TransferLoop::Impl::PollMilliseconds() const {
  const absl::Time now = base::Clock::Real()->Now();
  absl::Time next = now + kLongestPoll;
  for (const auto& [number, transfer] : transfers_) next = std::min(next, transfer->DueAt(end_all_by_));
  if (next <= now) return 0;
  // Rounded up, so that it is due behind the wait.
  return static_cast<int>(absl::ToInt64Milliseconds(next - now)) + 1;
}

absl::StatusOr<std::unique_ptr<TransferLoop>> TransferLoop::Create(std::string user_agent) {
  const absl::StatusOr<const CurlLibrary*> curl = LoadCurl();
  if (!curl.ok()) return curl.status();
  CURLM* const multi = (*curl)->multi_init();
  if (multi == nullptr) return absl::InternalError("libcurl could not be set up");
  (*curl)->multi_setopt(multi, CURLMOPT_MAXCONNECTS, kKeptConnections);
  return std::unique_ptr<TransferLoop>(new TransferLoop(std::make_unique<Impl>(*curl, multi, std::move(user_agent))));
}

TransferLoop::TransferLoop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TransferLoop::~TransferLoop() = default;

void TransferLoop::Post(std::function<void()> work) { impl_->Post(std::move(work)); }
uint64_t TransferLoop::Begin(TransferRequest request, std::shared_ptr<TransferListener> listener) {
  return impl_->Begin(std::move(request), std::move(listener));
}
void TransferLoop::Resume(uint64_t transfer) { impl_->Resume(transfer); }
void TransferLoop::Cancel(uint64_t transfer) { impl_->Cancel(transfer); }
void TransferLoop::EndAllBy(absl::Time end) { impl_->EndAllBy(end); }

}  // namespace hadal::upstream
