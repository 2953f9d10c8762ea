// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace hadal::batches {

// The metadata of a batch for protocols that are not JSON. Texts are UTF-8.
using Metadata = std::map<std::string, std::string>;

// As a store keeps it; "null" for none.
std::string MetadataJson(const Metadata& metadata);
// What MetadataJson, or a front that speaks JSON, gave the store; nothing for what it is not.
Metadata ReadMetadataJson(std::string_view json);

}  // namespace hadal::batches
