// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission_log.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::admission {

void AdmissionLog::Refusal(absl::Time now, LogSeverity severity, std::string_view component, std::string_view line,
                           const LogFields& fields) {
  if (sink_ == nullptr) return;
  static_assert(request::kNumReasons <= kReasons);
  int64_t suppressed = 0;
  int64_t seconds = 0;
  {
    base::MutexLock lock(&mutex_);
    Window& window = windows_[static_cast<size_t>(fields.reason)];
    if (now < window.start + absl::Seconds(1)) {
      ++window.suppressed;
      return;
    }
    suppressed = window.suppressed;
    if (suppressed > 0) seconds = static_cast<int64_t>(std::ceil(absl::ToDoubleSeconds(now - window.start)));
    window = {now, 0};
  }
  if (suppressed > 0) {
    LogFields counted;
    counted.reason = fields.reason;
    sink_(severity, component,
          absl::StrCat(base::View(request::ReasonName(fields.reason)), ": ", suppressed, " more in the last ", seconds,
                       " s"),
          counted);
  }
  sink_(severity, component, line, fields);
}

}  // namespace hadal::admission
