// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace hadal::service {

// What one call may ask for; the same on both fronts. Counts above a limit are INVALID_REQUEST (400), numbers outside
// their documented range OUT_OF_RANGE (422).
inline constexpr size_t kMaxMessages = 2048;
inline constexpr size_t kMaxTools = 128;
inline constexpr size_t kMaxDocuments = 1024;
inline constexpr size_t kMaxToolCallsPerMessage = 128;
inline constexpr int32_t kMaxChoices = 16;
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 1024;
inline constexpr size_t kMaxStopTokenIds = 16;
inline constexpr int32_t kMaxTopLogprobs = 20;
inline constexpr size_t kMaxLogitBias = 1024;
inline constexpr float kMaxLogitBiasValue = 100.0f;
inline constexpr size_t kMaxPromptsPerCall = 128;  // OpenAI completions: "prompt" as a list
// Texts that are only tokenised: so much, or so much for each token of the model's context, whichever is more.
inline constexpr size_t kMaxTokenizeBytes = size_t{1} << 20;
inline constexpr size_t kMaxTokenizeBytesPerContextToken = 16;
inline constexpr size_t kMaxUserBytes = 512;  // user, user_id, cache_salt
inline constexpr size_t kMaxModelNameBytes = 512;
inline constexpr size_t kMaxToolNameBytes = 64;
inline constexpr float kMaxTemperature = 2.0f;
inline constexpr float kMaxRepetitionPenalty = 10.0f;
inline constexpr float kMaxFrequencyPenalty = 2.0f;  // and presence_penalty; both also down to -2

}  // namespace hadal::service
