// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::tokenizer {

// A checkpoint whose tokenizer was damaged or replaced still answers, only wrongly: these functions find that before it
// does. All are pure and thread-safe.

// What a tokenizer does: "tk_" and 16 hexadecimal digits over the bytes of every token, the control tokens, and the ids
// of a few texts, which the pre-tokenizer and the merges decide. Stable across machines and runs.
std::string Fingerprint(const Tokenizer& tokenizer);

// Whether the tokenizer can be that of a model with `embedding_rows` rows in its embedding (vocab_size of config.json).
// InvalidArgument says which of these is not so:
//   - Plain texts come back from their own ids. They do not where a pre-tokenizer was exchanged for one that the
//     vocabulary does not fit: spaces and newlines are lost.
//   - A published DeepSeek, Qwen 2 or Llama 3 vocabulary, which is recognised by its tokens, gives the published ids.
//   - A model with the embedding of such a vocabulary does not have another one of them.
// Other vocabularies are only held to the first.
absl::Status CheckTokenizer(const Tokenizer& tokenizer, int32_t embedding_rows);

}  // namespace hadal::tokenizer
