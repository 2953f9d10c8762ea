// SPDX-License-Identifier: Apache-2.0
#include "server/base/flag_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/str_replace.h"

namespace hadal::base {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

enum class Shape { kRound, kSquare };

// Options as a part of the server has them, and a set that holds their flags.
class FlagSetTest : public ::testing::Test {
 protected:
  FlagSetTest() {
    flags.AddInt("slots", &slots, {1, 10}, "places");
    flags.AddInt("threads", &threads, {1, 64}, "workers", "cores");
    flags.AddText("label", &label, "a text");
    flags.AddChoice("unit", &unit, {"metre", "foot"}, "a choice");
    flags.AddEnum("shape", &shape, {{"round", Shape::kRound}, {"square", Shape::kSquare}}, "an enumeration");
    flags.AddBool("cache", &cache, "keep things");
    flags.AddSwitch("verbose", &verbose, "say more");
    flags.AddBytes("max-size", &size, "a size");
    flags.AddDuration("time-limit", &limit, "a time");
    flags.Add({.name = "add",
               .help = "appends",
               .default_text = "nothing",
               .set = [this](const std::string& text) -> absl::Status {
                 added.push_back(text);
                 return absl::OkStatus();
               },
               .repeatable = true});
  }
  ~FlagSetTest() override {
    for (const std::string& variable : variables) unsetenv(variable.c_str());
  }
  void SetVariable(const std::string& name, const std::string& value) {
    variables.push_back(name);
    setenv(name.c_str(), value.c_str(), 1);
  }
  std::string Error(const std::vector<std::string>& args) {
    const absl::StatusOr<ParsedFlags> parsed = flags.Parse("program", args);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(parsed.status().message());
  }
  static std::string WriteToml(const std::string& text) {
    const std::string path = ::testing::TempDir() + "/hadal_flag_set_test_" + std::to_string(::getpid()) + ".toml";
    std::ofstream(path) << text;
    return path;
  }

  int slots = 4;
  int32_t threads = 0;
  std::string label = "plain", unit = "metre";
  Shape shape = Shape::kSquare;
  bool cache = true, verbose = false;
  int64_t size = 16 << 20;
  absl::Duration limit = absl::Seconds(90);
  std::vector<std::string> added;
  std::vector<std::string> variables;
  FlagSet flags{{.prefix = "FLAGTEST_", .others = {"FLAGTEST_TOOL"}}};
};

TEST_F(FlagSetTest, EachKindSetsItsOption) {
  const auto parsed = flags.Parse(
      "program", {"--slots=7", "--threads", "3", "--label=a b", "--unit=foot", "--shape=round", "--cache=false",
                  "--verbose", "--max-size=1KiB", "--time-limit=250ms", "--add=x", "--add", "y"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(slots, 7);
  EXPECT_EQ(threads, 3);
  EXPECT_EQ(label, "a b");
  EXPECT_EQ(unit, "foot");
  EXPECT_EQ(shape, Shape::kRound);
  EXPECT_FALSE(cache);
  EXPECT_TRUE(verbose);
  EXPECT_EQ(size, 1024);
  EXPECT_EQ(limit, absl::Milliseconds(250));
  EXPECT_EQ(added, (std::vector<std::string>{"x", "y"}));
}

TEST_F(FlagSetTest, DefaultsAreTheOptionsOwnValues) {
  const auto parsed = flags.Parse("program", {});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(slots, 4);
  EXPECT_EQ(parsed->ToToml(),
            "# add = \"nothing\"  # default\n"
            "# cache = \"true\"  # default\n"
            "# label = \"plain\"  # default\n"
            "# max-size = \"16MiB\"  # default\n"
            "# shape = \"square\"  # default\n"
            "# slots = \"4\"  # default\n"
            "# threads = \"cores\"  # default\n"
            "# time-limit = \"90s\"  # default\n"
            "# unit = \"metre\"  # default\n"
            "# verbose = \"false\"  # default\n");
}

TEST_F(FlagSetTest, FlagBeatsEnvironmentBeatsFile) {
  const std::string path = WriteToml("slots = 1\nmax-size = \"2KiB\"\nmax_size = \"3KiB\"\ntime_limit = \"1s\"\n");
  SetVariable("FLAGTEST_SLOTS", "2");
  SetVariable("FLAGTEST_TIME_LIMIT", "2s");
  const auto parsed = flags.Parse("program", {"--slots=3", "--config", path});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(slots, 3);
  EXPECT_EQ(limit, absl::Seconds(2));
  EXPECT_EQ(size, 3 << 10);
  EXPECT_EQ(parsed->values.at("slots").source, ValueSource::kFlag);
  EXPECT_EQ(parsed->values.at("time-limit").source, ValueSource::kEnvironment);
  EXPECT_EQ(parsed->values.at("max-size").source, ValueSource::kFile);
  EXPECT_EQ(parsed->values.at("label").source, ValueSource::kDefault);
  EXPECT_THAT(parsed->ToToml(), HasSubstr("slots = \"3\"  # flag\n"));
}

TEST_F(FlagSetTest, WhatIsPrintedIsReadBackAsTheSame) {
  for (const char* text : {R"(a"b\c d)", "it's", "[1, 2]", "a=b", "a, b", " ", "", "\xC3\xBC"}) {
    const auto printed = flags.Parse("program", {"--label", text, "--add=x,1", "--add=y", "--verbose"});
    ASSERT_TRUE(printed.ok()) << printed.status();
    added.clear();
    label.clear();
    verbose = false;
    const auto read = flags.Parse("program", {"--config", WriteToml(printed->ToToml())});
    ASSERT_TRUE(read.ok()) << read.status() << printed->ToToml();
    EXPECT_EQ(label, text);
    EXPECT_EQ(added, (std::vector<std::string>{"x,1", "y"})) << printed->ToToml();
    EXPECT_TRUE(verbose);
    EXPECT_EQ(threads, 0) << "a default that is explained is no value";
    EXPECT_EQ(read->ToToml(), absl::StrReplaceAll(printed->ToToml(), {{"# flag", "# file"}}));
  }
}

TEST_F(FlagSetTest, PasswordsOfUrlsAreNotPrinted) {
  const std::pair<std::string, std::string> kTexts[] = {
      {"memory,redis://me:sesame@host:6379/2", "memory,redis://me:***@host:6379/2"},
      {"redis://:a:b/c,d@e@host", "redis://:***@host"},
      {"redis://:one@a,https://b:8000,redis://:two@c", "redis://:***@a,https://b:8000,redis://:***@c"},
      {"http://host:8000,name=far", "http://host:8000,name=far"},
      {"redis://me@host", "redis://me@host"},
      {"://", "://"},
      {"x:y@z", "x:y@z"}};
  for (const auto& [text, shown] : kTexts) {
    const auto parsed = flags.Parse("program", {"--label", text});
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(label, text);
    EXPECT_THAT(parsed->ToToml(),
                HasSubstr(shown == text ? "\nlabel = \"" + shown + "\"  # flag\n"
                                        : "\n# label = \"" + shown + "\"  # flag, without its password\n"));
  }
}

TEST_F(FlagSetTest, TheFileCanComeFromTheEnvironment) {
  SetVariable("FLAGTEST_CONFIG", WriteToml("label = \"from the file\"\n"));
  ASSERT_TRUE(flags.Parse("program", {}).ok());
  EXPECT_EQ(label, "from the file");
  EXPECT_EQ(Error({"--config=/nowhere.toml"}), "--config: no file '/nowhere.toml'");
}

TEST_F(FlagSetTest, UnknownNamesAreRefusedWithTheNearestKnown) {
  EXPECT_EQ(Error({"--slotz=3"}), "unknown flag 'slotz'; did you mean 'slots'?");
  EXPECT_EQ(Error({"extra"}), "unexpected argument 'extra'");
  const std::string path = WriteToml("lable = 1\n");
  EXPECT_EQ(Error({"--config", path}), path + ": unknown key 'lable'; did you mean 'label'?");
  SetVariable("FLAGTEST_TOOL", "not ours");
  EXPECT_TRUE(flags.Parse("program", {}).ok());
  SetVariable("FLAGTEST_SLOT", "1");
  EXPECT_EQ(Error({}), "unknown variable 'FLAGTEST_SLOT'; did you mean 'FLAGTEST_SLOTS'?");
}

TEST_F(FlagSetTest, ArgumentsWithoutAFlagAreThePositionalFlagsValues) {
  flags.Add({.name = "source",
             .help = "what is read",
             .default_text = "none",
             .set = [this](const std::string& text) -> absl::Status {
               added.push_back(text);
               return absl::OkStatus();
             },
             .repeatable = true,
             .positional = true});
  const auto parsed = flags.Parse("program", {"one", "--slots=3", "two", "--source=three"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(added, testing::UnorderedElementsAre("one", "two", "three"));
  EXPECT_EQ(slots, 3);
  EXPECT_EQ(Error({"one", "-x"}), "unexpected argument '-x'");
  EXPECT_EQ(Error({"one", "--slotz=3"}), "unknown flag 'slotz'; did you mean 'slots'?");
  EXPECT_THAT(flags.Parse("program", {"--help"})->help, HasSubstr("Usage: program [OPTIONS] [SOURCE]...\n"));
}

TEST_F(FlagSetTest, HelpNamesWhatAFlagTakes) {
  flags.Add({.name = "peers",
             .help = "hosts",
             .set = [](const std::string&) { return absl::OkStatus(); },
             .value_name = "HOST,..."});
  const std::string help = flags.Parse("program", {"--help"})->help;
  for (const char* text : {"--threads N ", "--label LABEL ", "--unit metre|foot ", "--shape round|square ",
                           "--cache true|false ", "--max-size SIZE ", "--time-limit DURATION ", "--peers HOST,... "}) {
    EXPECT_THAT(help, HasSubstr(text));
  }
  EXPECT_THAT(help, ContainsRegex("--verbose +say more")) << "a switch takes nothing";
}

TEST_F(FlagSetTest, ASwitchIsTrueAloneAndCanBeFalse) {
  ASSERT_TRUE(flags.Parse("program", {"--verbose"}).ok());
  EXPECT_TRUE(verbose);
  ASSERT_TRUE(flags.Parse("program", {"--verbose=false"}).ok());
  EXPECT_FALSE(verbose);
  ASSERT_TRUE(flags.Parse("program", {"--verbose=true"}).ok());
  EXPECT_TRUE(verbose);
  EXPECT_EQ(Error({"--verbose=perhaps"}), "--verbose: expected true or false, found 'perhaps'");
}

TEST_F(FlagSetTest, HelpHasTheGroupsInTheirOrder) {
  flags.StartGroup("Zebras");
  flags.AddSwitch("stripes", &verbose, "as they are");
  flags.StartGroup("Apes");
  flags.AddBool("tail", &cache, "none");
  const std::string help = flags.Parse("program", {"--help"})->help;
  EXPECT_THAT(help, HasSubstr("Usage: program [OPTIONS]\n"));
  size_t last = 0;
  for (const char* text :
       {"\nOptions:\n", "--help", "--slots N", "\nZebras:\n", "--stripes ", "\nApes:\n", "--tail true|false"}) {
    const size_t found = help.find(text);
    ASSERT_NE(found, std::string::npos) << text << " in\n" << help;
    EXPECT_GT(found, last) << text;
    last = found;
  }
}

TEST_F(FlagSetTest, ErrorsNameWhereTheValueCameFrom) {
  EXPECT_EQ(Error({"--slots", "11"}), "--slots: expected a whole number from 1 to 10, found '11'");
  EXPECT_EQ(Error({"--unit=mile"}), "--unit: expected one of metre, foot, found 'mile'");
  EXPECT_EQ(Error({"--shape=oval"}), "--shape: expected one of round, square, found 'oval'");
  EXPECT_EQ(Error({"--cache=perhaps"}), "--cache: expected true or false, found 'perhaps'");
  const std::string path = WriteToml("time-limit = \"soon\"\n");
  EXPECT_THAT(Error({"--config", path}), HasSubstr(path + ": time-limit: expected a duration"));
  SetVariable("FLAGTEST_MAX_SIZE", "big");
  EXPECT_THAT(Error({}), HasSubstr("FLAGTEST_MAX_SIZE: expected a size"));
}

TEST_F(FlagSetTest, HelpShowsEachFlagWithItsDefault) {
  const auto parsed = flags.Parse("program", {"--help"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->help, HasSubstr("program"));
  EXPECT_THAT(parsed->help, HasSubstr("a size [16MiB]"));
  EXPECT_THAT(parsed->help, HasSubstr("workers [cores]"));
  EXPECT_TRUE(flags.Parse("program", {"--print-config"})->print_config);
}

}  // namespace
}  // namespace hadal::base
