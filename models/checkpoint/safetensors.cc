// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/lfs_pointer.h"
#include "models/checkpoint/fingerprint.h"
#include "models/json/json_document.h"

namespace hadal::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are used as they lie in the file");

constexpr uint64_t kLengthBytes = 8;

// Reads one header entry; `data` is the file's data buffer.
class EntryParser {
 public:
  EntryParser(absl::string_view path, std::span<const std::byte> data) : path_(path), data_(data) {}

  absl::StatusOr<TensorEntry> Parse(std::string_view name, simdjson::dom::element value) {
    TensorEntry entry;
    entry.name = std::string(name);
    if (name.empty()) return Error(entry, "a name", "an empty one");
    simdjson::dom::object object;
    if (value.get(object) != simdjson::SUCCESS) return Error(entry, "an object", json::DescribeJson(value));
    if (absl::Status status = ParseDType(object, entry); !status.ok()) return status;
    uint64_t bytes = 0;
    if (absl::Status status = ParseShape(object, entry, bytes); !status.ok()) return status;
    if (absl::Status status = ParseOffsets(object, bytes, entry); !status.ok()) return status;
    return entry;
  }

 private:
  absl::Status Error(const TensorEntry& entry, absl::string_view expected, absl::string_view found) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor \"", json::QuoteForError(entry.name),
                                                   "\": expected ", expected, ", found ", found));
  }

  absl::Status ParseDType(simdjson::dom::object object, TensorEntry& entry) {
    simdjson::dom::element element;
    if (object.at_key("dtype").get(element) != simdjson::SUCCESS) return Error(entry, "a dtype", "none");
    std::string_view name;
    if (element.get(name) != simdjson::SUCCESS) return Error(entry, "a dtype name", json::DescribeJson(element));
    const std::optional<StoredDType> dtype = ParseStoredDType(json::ToAbsl(name));
    if (!dtype) {
      return Error(entry, "a known dtype (F64, F32, F16, BF16, I64..I8, U64..U8, BOOL, F8_E4M3, F8_E5M2, F8_E8M0)",
                   json::DescribeJson(element));
    }
    entry.dtype = *dtype;
    return absl::OkStatus();
  }

  absl::Status ParseShape(simdjson::dom::object object, TensorEntry& entry, uint64_t& bytes) {
    simdjson::dom::element element;
    if (object.at_key("shape").get(element) != simdjson::SUCCESS) return Error(entry, "a shape", "none");
    simdjson::dom::array array;
    if (element.get(array) != simdjson::SUCCESS) return Error(entry, "a shape list", json::DescribeJson(element));
    // Zeros count as 1 in `span`, so that no product over part of the shape can overflow either.
    uint64_t span = static_cast<uint64_t>(StoredDTypeBytes(entry.dtype));
    bool empty = false;
    for (simdjson::dom::element item : array) {
      int64_t size = 0;
      if (item.type() != simdjson::dom::element_type::INT64 || item.get(size) != simdjson::SUCCESS || size < 0) {
        return Error(entry, "sizes of at least 0 in shape", json::DescribeJson(item));
      }
      if (entry.shape.size() == kMaxTensorRank) {
        return Error(entry, absl::StrCat("at most ", kMaxTensorRank, " dimensions"), "more");
      }
      entry.shape.push_back(size);
      empty |= size == 0;
      if (__builtin_mul_overflow(span, size == 0 ? uint64_t{1} : static_cast<uint64_t>(size), &span) ||
          span > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Error(entry, "a shape of less than 2^63 bytes", "a larger one");
      }
    }
    bytes = empty ? 0 : span;
    return absl::OkStatus();
  }

  absl::Status ParseOffsets(simdjson::dom::object object, uint64_t bytes, TensorEntry& entry) {
    simdjson::dom::element element;
    if (object.at_key("data_offsets").get(element) != simdjson::SUCCESS) return Error(entry, "data_offsets", "none");
    simdjson::dom::array array;
    if (element.get(array) != simdjson::SUCCESS || array.size() != 2) {
      return Error(entry, "data_offsets [begin, end]", json::DescribeJson(element));
    }
    uint64_t offsets[2] = {0, 0};
    size_t index = 0;
    for (simdjson::dom::element item : array) {
      if (item.type() == simdjson::dom::element_type::DOUBLE || item.get(offsets[index]) != simdjson::SUCCESS) {
        return Error(entry, "data_offsets of at least 0", json::DescribeJson(item));
      }
      ++index;
    }
    if (offsets[1] < offsets[0] || offsets[1] > data_.size()) {
      return Error(entry, absl::StrCat("data_offsets in order and within the ", data_.size(), " bytes of data"),
                   absl::StrCat("[", offsets[0], ", ", offsets[1], "]",
                                offsets[1] > data_.size() ? "; the file is cut short, or its header is wrong" : ""));
    }
    if (offsets[1] - offsets[0] != bytes) {
      return Error(entry, absl::StrCat(bytes, " bytes for its shape and dtype ", StoredDTypeName(entry.dtype)),
                   absl::StrCat(offsets[1] - offsets[0], " in data_offsets"));
    }
    entry.bytes = data_.subspan(offsets[0], bytes);
    return absl::OkStatus();
  }

  absl::string_view path_;
  std::span<const std::byte> data_;
};

absl::Status ParseMetadata(absl::string_view path, simdjson::dom::element value, SafetensorsHeader& header) {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": __metadata__: expected an object, found ", json::DescribeJson(value)));
  }
  for (simdjson::dom::key_value_pair field : object) {
    std::string_view text;
    if (field.value.get(text) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": __metadata__.",
                                                     json::QuoteForError(json::ToAbsl(field.key)),
                                                     ": expected a string, found ", json::DescribeJson(field.value)));
    }
    header.metadata.emplace(field.key, text);
  }
  return absl::OkStatus();
}

// Sorts by position and demands that the tensors follow each other from the first to the last byte.
absl::Status CheckCoverage(absl::string_view path, std::span<const std::byte> data, std::vector<TensorEntry>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    if (a.bytes.data() != b.bytes.data()) return a.bytes.data() < b.bytes.data();
    if (a.bytes.size() != b.bytes.size()) return a.bytes.size() < b.bytes.size();
    return a.name < b.name;
  });
  const std::byte* expected = data.data();
  for (const TensorEntry& entry : tensors) {
    if (entry.bytes.data() != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor \"", json::QuoteForError(entry.name), "\": expected to begin at byte ",
                       expected - data.data(), " of the data, found ", entry.bytes.data() - data.data(),
                       entry.bytes.data() < expected ? " (it overlaps the one before)" : " (unused bytes before it)"));
    }
    expected += entry.bytes.size();
  }
  const size_t covered = static_cast<size_t>(expected - data.data());
  if (covered != data.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected ", covered, " bytes of data after the header, found ", data.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensors(std::span<const std::byte> file, absl::string_view path) {
  if (file.size() < kLengthBytes + 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected at least ", kLengthBytes + 2, " bytes, found ", file.size()));
  }
  if (base::IsLfsPointer(std::string_view(reinterpret_cast<const char*>(file.data()), file.size()))) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected tensors, found ", base::kLfsPointerAdvice));
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a header of at most ", kMaxSafetensorsHeaderBytes, " bytes, found ", length));
  }
  if (length > file.size() - kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a header of at most the ",
                                                   file.size() - kLengthBytes, " bytes that follow, found ", length,
                                                   " (truncated file?)"));
  }
  const std::span<const std::byte> header_bytes = file.subspan(kLengthBytes, length);
  const std::span<const std::byte> data = file.subspan(kLengthBytes + length);
  if (length < 2 || header_bytes[0] != std::byte{'{'}) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a header that begins with '{'"));
  }
  const absl::string_view text(reinterpret_cast<const char*>(header_bytes.data()), header_bytes.size());
  auto document = json::JsonDocument::Parse(text, path);
  if (!document.ok()) return document.status();

  SafetensorsHeader header;
  header.header_hash = Fnv1a(header_bytes);
  header.data_offset = static_cast<int64_t>(kLengthBytes + length);
  EntryParser parser(path, data);
  const simdjson::dom::object entries = *(*document)->root().Object();
  for (const simdjson::dom::key_value_pair field : entries) {
    if (field.key == "__metadata__") {
      if (absl::Status status = ParseMetadata(path, field.value, header); !status.ok()) return status;
      continue;
    }
    auto entry = parser.Parse(field.key, field.value);
    if (!entry.ok()) return entry.status();
    header.tensors.push_back(*std::move(entry));
  }
  if (absl::Status status = CheckCoverage(path, data, header.tensors); !status.ok()) return status;
  return header;
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::string& path,
                                                                             models::FileAccess access) {
  auto mapping = models::MappedFile::Open(path, access);
  if (!mapping.ok()) return mapping.status();
  auto header = ParseSafetensors((*mapping)->bytes(), path);
  if (!header.ok()) return header.status();
  auto file = std::shared_ptr<SafetensorsFile>(new SafetensorsFile());
  file->mapping_ = *std::move(mapping);
  file->header_ = *std::move(header);
  file->by_name_.reserve(file->header_.tensors.size());
  for (size_t i = 0; i < file->header_.tensors.size(); ++i) file->by_name_.emplace(file->header_.tensors[i].name, i);
  return std::shared_ptr<const SafetensorsFile>(std::move(file));
}

const TensorEntry* SafetensorsFile::Find(absl::string_view name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &header_.tensors[it->second];
}

int64_t TensorAlignment(const TensorEntry& entry) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(entry.bytes.data());
  return address == 0 ? 4096 : std::min<int64_t>(4096, int64_t{1} << std::countr_zero(address));
}

}  // namespace hadal::checkpoint
