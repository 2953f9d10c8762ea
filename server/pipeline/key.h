// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/pipeline/messages.h"

namespace hadal::pipeline {

// The secret that all hosts of a model share: the content of --pipeline-key-file without the white space around it.
// InvalidArgument names the file when it is none, or has fewer than 16 or more than 4096 bytes.
absl::StatusOr<std::string> ReadKey(const std::string& path);

// Whoever has made a Mac knows the key and has seen both nonces: neither end can replay what it heard.
enum class Side { kLeader, kWorker };
Mac MakeMac(const std::string& key, Side side, const Nonce& leader, const Nonce& worker);
// Takes the same time wherever they differ.
bool Equal(const Mac& a, const Mac& b);

Nonce MakeNonce();

}  // namespace hadal::pipeline
