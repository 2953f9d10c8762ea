// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/client.h"

namespace hadal::client {

// Many small calls as one: batches of token ids, texts to tokenise. At most `max_in_flight` (at least 1) are under way
// at once, so that a batch neither floods a server nor waits for one answer at a time; equal calls whose answer is
// determined (CacheOptions) run once. One whose answer broke off is asked again (GenerationOptions::whole). They share
// the connections as streams of their own: the server computes them in the same steps, and one that ends early, or
// fails, does not wait for the others. Results in the order of the calls.
using Completions = std::vector<absl::StatusOr<GenerationResult>>;
using Tokens = std::vector<absl::StatusOr<std::vector<int32_t>>>;

// Returns at once; `done` is called once, on a thread of gRPC, but at once where there are no calls. `client` is
// borrowed until then.
void StartCompleteAll(Client& client, std::vector<CompletionOptions> calls, int max_in_flight,
                      std::function<void(Completions)> done);
void StartTokenizeAll(Client& client, std::vector<std::string> texts, int max_in_flight,
                      std::function<void(Tokens)> done);

// Wait on the calling thread.
Completions CompleteAll(Client& client, std::vector<CompletionOptions> calls, int max_in_flight = 64);
Tokens TokenizeAll(Client& client, std::vector<std::string> texts, int max_in_flight = 64);

}  // namespace hadal::client
