// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/models/checkpoint/checkpoint_builder.h"

namespace hadal::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string ParseError(const std::string& bytes) {
  auto header = ParseSafetensors(AsBytes(bytes), "m.safetensors");
  EXPECT_FALSE(header.ok());
  return std::string(header.status().message());
}

// A file of one tensor "w" with that header entry and `data_bytes` zeros.
std::string OneTensor(const std::string& entry, size_t data_bytes) {
  return SafetensorsBytes("{\"w\":" + entry + "}", std::string(data_bytes, '\0'));
}

TEST(SafetensorsTest, ReadsTensorsMetadataAndScalars) {
  SafetensorsBuilder builder;
  builder.AddF32("b", {2, 3}, {1, 2, 3, 4, 5, 6});
  builder.AddBF16("a", {2}, {7, 8});
  builder.AddF32("scalar", {}, {9});
  builder.AddF32("empty", {0, 4}, {});
  const std::string bytes = builder.Bytes();
  auto header = ParseSafetensors(AsBytes(bytes), "m.safetensors");
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->metadata.at("format"), "pt");
  ASSERT_EQ(header->tensors.size(), 4u);
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[0].dtype, StoredDType::kF32);
  EXPECT_EQ(header->tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(header->tensors[0].bytes.data(), AsBytes(bytes).data() + header->data_offset);
  EXPECT_EQ(header->tensors[1].name, "a");
  EXPECT_EQ(header->tensors[1].elements(), 2);
  size_t covered = 0;
  for (const TensorEntry& entry : header->tensors) covered += entry.bytes.size();
  EXPECT_EQ(covered, bytes.size() - static_cast<size_t>(header->data_offset));
}

TEST(SafetensorsTest, AcceptsHeaderPaddingAndNoTensors) {
  EXPECT_TRUE(ParseSafetensors(AsBytes(SafetensorsBytes("{}      ", "")), "m").ok());
}

TEST(SafetensorsTest, RefusesHeaderLengths) {
  EXPECT_THAT(ParseError(std::string(9, '\0')), HasSubstr("m.safetensors: expected at least 10 bytes, found 9"));
  std::string huge(64, '{');
  huge.replace(0, 8, std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));  // 100,000,001
  EXPECT_THAT(ParseError(huge), HasSubstr("expected a header of at most 100000000 bytes, found 100000001"));
  huge.replace(0, 8, std::string("\x39\0\0\0\0\0\0\0", 8));
  EXPECT_THAT(ParseError(huge), HasSubstr("at most the 56 bytes that follow, found 57 (truncated file?)"));
  huge.replace(0, 8, std::string(8, '\xff'));
  EXPECT_THAT(ParseError(huge), HasSubstr("found 18446744073709551615"));
  EXPECT_THAT(ParseError(SafetensorsBytes(" {}", "")), HasSubstr("begins with '{'"));
}

TEST(SafetensorsTest, SaysThatAFileIsALfsPointer) {
  EXPECT_THAT(ParseError("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
              HasSubstr("m.safetensors: expected tensors, found a Git LFS pointer"));
}

struct BadEntry {
  const char* entry;
  size_t data_bytes;
  const char* message;
};

class BadEntryTest : public ::testing::TestWithParam<BadEntry> {};

TEST_P(BadEntryTest, IsNamedWithExpectedAndFound) {
  EXPECT_THAT(ParseError(OneTensor(GetParam().entry, GetParam().data_bytes)),
              AllOf(HasSubstr("m.safetensors: tensor \"w\": expected "), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Entries, BadEntryTest,
    ::testing::Values(
        BadEntry{"3", 0, "an object, found 3"},
        BadEntry{R"({"shape":[1],"data_offsets":[0,4]})", 4, "a dtype, found none"},
        BadEntry{R"({"dtype":7,"shape":[1],"data_offsets":[0,4]})", 4, "a dtype name, found 7"},
        BadEntry{R"({"dtype":"F4","shape":[1],"data_offsets":[0,4]})", 4, "found \"F4\""},
        BadEntry{R"({"dtype":"F32","data_offsets":[0,4]})", 4, "a shape, found none"},
        BadEntry{R"({"dtype":"F32","shape":4,"data_offsets":[0,4]})", 4, "a shape list, found 4"},
        BadEntry{R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", 4, "sizes of at least 0 in shape, found -1"},
        BadEntry{R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})", 4, "found 1.5"},
        BadEntry{R"({"dtype":"F32","shape":[9223372036854775807,3],"data_offsets":[0,4]})", 4, "less than 2^63 bytes"},
        BadEntry{R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0, "less than 2^63 bytes"},
        BadEntry{R"({"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})", 0,
                 "less than 2^63 bytes"},
        BadEntry{R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})", 4, "at most 8 dimensions"},
        BadEntry{R"({"dtype":"F32","shape":[1]})", 4, "data_offsets, found none"},
        BadEntry{R"({"dtype":"F32","shape":[1],"data_offsets":[0]})", 4, "data_offsets [begin, end]"},
        BadEntry{R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})", 4, "data_offsets of at least 0, found -4"},
        BadEntry{R"({"dtype":"F32","shape":[1],"data_offsets":[0.0,4]})", 4, "data_offsets of at least 0, found 0"},
        BadEntry{R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})", 4,
                 "in order and within the 4 bytes of data, found [4, 0]"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 7,
                 "within the 7 bytes of data, found [0, 8]; the file is cut short"},
        BadEntry{R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 8,
                 "8 bytes for its shape and dtype F32, found 4"},
        BadEntry{R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8, "unused bytes before it"}));

TEST(SafetensorsTest, RefusesRepeatedNames) {
  const std::string entry = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(ParseError(SafetensorsBytes("{" + entry + "," + entry + "}", "x")),
              HasSubstr("m.safetensors: w: expected each key once, found it twice"));
}

TEST(SafetensorsTest, RefusesOverlapHoleAndRest) {
  auto two = [](const std::string& a, const std::string& b, size_t bytes) {
    return SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
                                R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}",
                            std::string(bytes, 'x'));
  };
  EXPECT_TRUE(ParseSafetensors(AsBytes(two("[4,8]", "[0,4]", 8)), "m").ok());
  EXPECT_THAT(ParseError(two("[0,4]", "[2,6]", 6)),
              HasSubstr("tensor \"b\": expected to begin at byte 4 of the data, found 2 (it overlaps"));
  EXPECT_THAT(ParseError(two("[0,4]", "[5,9]", 9)), HasSubstr("unused bytes before it"));
  EXPECT_THAT(ParseError(two("[0,4]", "[4,8]", 9)), HasSubstr("expected 8 bytes of data after the header, found 9"));
}

TEST(SafetensorsTest, RefusesBadMetadata) {
  EXPECT_THAT(ParseError(SafetensorsBytes(R"({"__metadata__":[]})", "")),
              HasSubstr("__metadata__: expected an object"));
  EXPECT_THAT(ParseError(SafetensorsBytes(R"({"__metadata__":{"a":1}})", "")),
              HasSubstr("__metadata__.a: expected a string, found 1"));
}

TEST(SafetensorsFileTest, MapsAndFinds) {
  TempDir dir;
  SafetensorsBuilder builder;
  builder.AddF32("w", {2}, {1.5f, -2.0f});
  dir.Write("m.safetensors", builder.Bytes());
  auto file = SafetensorsFile::Open(dir.File("m.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status();
  (*file)->Prefetch();
  const TensorEntry* entry = (*file)->Find("w");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ((*file)->Find("v"), nullptr);
  float values[2];
  std::memcpy(values, entry->bytes.data(), sizeof(values));
  EXPECT_EQ(values[1], -2.0f);
  EXPECT_EQ(TensorAlignment(*entry) % 8, 0);
}

TEST(SafetensorsFileTest, HashFollowsTheHeader) {
  TempDir dir;
  SafetensorsBuilder one, other;
  one.AddF32("w", {1}, {1});
  other.AddF32("v", {1}, {1});
  dir.Write("one", one.Bytes());
  dir.Write("same", one.Bytes());
  dir.Write("other", other.Bytes());
  auto hash = [&](const char* name) { return (*SafetensorsFile::Open(dir.File(name)))->header_hash(); };
  EXPECT_EQ(hash("one"), hash("same"));
  EXPECT_NE(hash("one"), hash("other"));
}

TEST(SafetensorsFileTest, SaysWhyAFileCannotBeRead) {
  TempDir dir;
  auto open_error = [&](const std::string& name) { return SafetensorsFile::Open(dir.File(name)).status(); };
  EXPECT_EQ(open_error("none").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(open_error("").message(), HasSubstr("expected a regular file, found a directory"));
  dir.Write("empty", "");
  EXPECT_THAT(open_error("empty").message(), HasSubstr("empty: expected data, found an empty file"));
  ASSERT_EQ(mkfifo(dir.File("pipe").c_str(), 0600), 0);
  EXPECT_THAT(open_error("pipe").message(), HasSubstr("expected a regular file"));
  SafetensorsBuilder builder;
  builder.AddF32("w", {100}, std::vector<float>(100));
  std::string bytes = builder.Bytes();
  bytes.resize(bytes.size() - 1);
  dir.Write("truncated", bytes);
  EXPECT_THAT(open_error("truncated").message(), HasSubstr("within the 399 bytes of data, found [0, 400]"));
  if (geteuid() != 0) {
    dir.Write("secret", bytes);
    chmod(dir.File("secret").c_str(), 0);
    EXPECT_EQ(open_error("secret").code(), absl::StatusCode::kPermissionDenied);
  }
}

}  // namespace
}  // namespace hadal::checkpoint
