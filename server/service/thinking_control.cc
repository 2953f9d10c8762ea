// SPDX-License-Identifier: Apache-2.0
#include "server/service/thinking_control.h"

#include <unordered_map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "base/sync.h"
#include "base/utf8.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::service {
namespace {

// Bytes of a client's id that messages repeat.
constexpr size_t kShownIdBytes = 128;

struct Control {
  std::string tenant;
  std::shared_ptr<ThinkingSwitch> control;
};
using Controls = std::unordered_multimap<std::string, Control>;

}  // namespace

struct ThinkingControls::Table {
  base::Mutex mutex;
  Controls controls ABSL_GUARDED_BY(mutex);
};

struct ThinkingControls::Registration::Place {
  std::shared_ptr<Table> table;
  Controls::iterator entry;

  ~Place() {
    base::MutexLock lock(&table->mutex);
    table->controls.erase(entry);
  }
};

ThinkingControls::ThinkingControls() : table_(std::make_shared<Table>()) {}

ThinkingControls::~ThinkingControls() = default;

ThinkingControls::Registration ThinkingControls::Add(std::string id, std::string tenant,
                                                     std::shared_ptr<ThinkingSwitch> control) {
  Registration registration;
  base::MutexLock lock(&table_->mutex);
  const Controls::iterator entry =
      table_->controls.emplace(std::move(id), Control{std::move(tenant), std::move(control)});
  registration.place_.reset(new Registration::Place{table_, entry});
  return registration;
}

absl::Status ThinkingControls::End(std::string_view id, std::string_view tenant) {
  bool found = false, ended = false;
  {
    base::MutexLock lock(&table_->mutex);
    const auto [begin, end] = table_->controls.equal_range(std::string(id));
    for (auto entry = begin; entry != end; ++entry) {
      if (entry->second.tenant != tenant) continue;
      found = true;
      ThinkingSwitch& control = *entry->second.control;
      if (!control.thinking.load()) continue;
      control.end_now.store(true);
      ended = true;
    }
  }
  if (ended) return absl::OkStatus();
  const std::string shown(base::Utf8Prefix(id, kShownIdBytes));
  if (!found) {
    return request::MakeError(request::Reason::kRequestNotFound,
                              absl::StrCat("no request of yours with the id \"", shown,
                                           "\" is running that was sent with `reasoning_control`"),
                              "id");
  }
  return request::MakeError(request::Reason::kNotThinking,
                            absl::StrCat("the request \"", shown, "\" is not thinking: there is nothing to end"), "id");
}

}  // namespace hadal::service
