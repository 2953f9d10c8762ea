// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "server/base/flag_set.h"
#include "server/base/metrics.h"

namespace hadal::service {

// Which rungs of the degradation ladder (degradation.h) there are; none by default: a server that is full refuses.
struct DegradationOptions {
  int64_t cache_bytes = 0;        // of outputs kept for Rung::kCache; 0: off
  bool reasoning_effort = false;  // kReasoningEffort
  int32_t max_tokens = 0;         // that kMaxTokens leaves; 0: off
  std::string fallback_model;     // served name, for kModel; empty: off
  std::string answer;             // kStatic's text; empty: off
  base::MetricRegistry* metrics = nullptr;

  void AddFlags(base::FlagSet* flags) {
    flags->AddBytes("degrade-cache", &cache_bytes,
                    "memory for outputs of deterministic requests, given again to the same request while the server is "
                    "full; on top of --response-cache-size; 0 means off");
    flags->AddSwitch("degrade-reasoning", &reasoning_effort,
                     "chats of the low and batch classes are answered without reasoning when memory is short for it");
    flags->AddInt("degrade-max-tokens", &max_tokens, {0, std::numeric_limits<int32_t>::max()},
                  "output tokens that the low and batch classes get when memory is short for more; 0 means off");
    flags->AddText("degrade-model", &fallback_model, "served model that answers when the requested one lacks memory",
                   "none");
    flags->AddText("degrade-answer", &answer, "text that answers everything while the server is full", "none");
  }
};

}  // namespace hadal::service
