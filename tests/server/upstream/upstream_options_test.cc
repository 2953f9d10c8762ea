// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/upstream_options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::upstream {
namespace {

using ::testing::HasSubstr;

TEST(TargetOptionsTest, ReadsUrlAndParts) {
  const TargetOptions target =
      TargetOptions::Parse(
          "https://api.example.com:444/v2/,weight=3,key-file=/k,ca-file=/ca,model=m,max-in-flight=7,name=far")
          .value();
  EXPECT_EQ(target.base_url, "https://api.example.com:444/v2");
  EXPECT_EQ(target.weight, 3);
  EXPECT_EQ(target.key_file, "/k");
  EXPECT_EQ(target.ca_file, "/ca");
  EXPECT_EQ(target.model, "m");
  EXPECT_EQ(target.max_in_flight, 7);
  EXPECT_EQ(target.name, "far");
}

TEST(TargetOptionsTest, AUrlWithoutAPathMeansV1) {
  EXPECT_EQ(TargetOptions::Parse("http://h:1").value().base_url, "http://h:1/v1");
  EXPECT_EQ(TargetOptions::Parse("http://h:1/").value().base_url, "http://h:1/v1");
  EXPECT_EQ(TargetOptions::Parse("http://[::1]:8000").value().name, "[::1]:8000");
  EXPECT_EQ(TargetOptions::Parse("http://h").value().weight, 0);
}

TEST(TargetOptionsTest, ErrorsNameThePart) {
  const std::pair<const char*, const char*> cases[] = {{"h:1", "http:// or https://"},
                                                       {"ftp://h", "http:// or https://"},
                                                       {"http://", "host is missing"},
                                                       {"http://:80", "host is missing"},
                                                       {"http://h:0", "port must be from 1 to 65535"},
                                                       {"http://h:x", "port must be from 1 to 65535"},
                                                       {"http://h/v1?key=1", "no query"},
                                                       {"http://h,weight", "in 'weight': expected KEY=VALUE"},
                                                       {"http://h,weight=0", "in 'weight=0': expected a number"},
                                                       {"http://h,max-in-flight=x", "in 'max-in-flight=x'"},
                                                       {"http://h,model=", "the value is missing"},
                                                       {"http://h,name=a b", "a name has at most 64"},
                                                       {"http://h,colour=red", "the keys are weight"},
                                                       {"http://h,ca-file=/ca", "ca-file needs a URL with https://"}};
  for (const auto& [text, error] : cases) {
    const absl::Status status = TargetOptions::Parse(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(error)) << text;
  }
}

TEST(TargetOptionsTest, AKeyInTheUrlIsRefusedAndNotRepeated) {
  const absl::Status status = TargetOptions::Parse("https://user:secret@h/v1").status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("key-file=PATH"));
  EXPECT_EQ(std::string(status.message()).find("secret"), std::string::npos);
}

TEST(UpstreamOptionsTest, TargetsNeedNamesOfTheirOwnAndTimesThatPass) {
  UpstreamOptions options;
  options.targets = {TargetOptions::Parse("http://h:1/a").value(), TargetOptions::Parse("http://h:1/b").value()};
  EXPECT_THAT(std::string(options.Validate().message()), HasSubstr("two are called h:1"));
  options.targets[1].name = "b";
  EXPECT_TRUE(options.Validate().ok());
  options.stall_timeout = absl::ZeroDuration();
  EXPECT_THAT(std::string(options.Validate().message()), HasSubstr("--fallback-stall-timeout"));
}

}  // namespace
}  // namespace hadal::upstream
