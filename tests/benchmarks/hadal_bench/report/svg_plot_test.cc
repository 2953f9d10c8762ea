// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(SvgPlotTest, TicksAreRoundAndCoverTheMaximum) {
  EXPECT_THAT(RoundTicks(10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(RoundTicks(11, 5), ElementsAre(0, 5, 10, 15));
  EXPECT_THAT(RoundTicks(0.003, 5), ElementsAre(0, DoubleEq(0.001), DoubleEq(0.002), DoubleEq(0.003)));
  EXPECT_THAT(RoundTicks(0, 5).front(), 0);
}

TEST(SvgPlotTest, PlacesPointsInsideTheFrame) {
  const std::string svg = LinePlot({.title = "t", .x_label = "x", .y_label = "y"}, {{"one", {{0, 0}, {10, 5}}}});
  EXPECT_THAT(svg, HasSubstr("points=\"62.0,216.0 594.0,30.0 \""));
  EXPECT_THAT(svg, HasSubstr(">one</text>"));
}

TEST(SvgPlotTest, ALegendDoesNotCoverTheTitle) {
  const std::vector<std::pair<double, double>> points = {{0, 0}, {10, 5}};
  const PlotOptions options{.title = "Goodput against offered load", .x_label = "x", .y_label = "requests/s"};
  EXPECT_THAT(LinePlot(options, {{"goodput", points}, {"completed", points}}),
              HasSubstr("y=\"16.0\" text-anchor=\"end\""));
  const std::string crowded = LinePlot(
      options, {{"A goodput", points}, {"A completed", points}, {"B goodput", points}, {"B completed", points}});
  EXPECT_THAT(crowded, Not(HasSubstr("y=\"16.0\" text-anchor=\"end\"")));
  EXPECT_THAT(crowded, HasSubstr("y=\"32.0\" text-anchor=\"end\""));
  EXPECT_THAT(crowded, HasSubstr("594.0,46.0 "));  // the plot itself begins below
}

TEST(SvgPlotTest, AServersTextIsNoMarkup) {
  EXPECT_EQ(Escaped("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
  const std::string svg = LinePlot({.title = "<b>", .x_label = "x", .y_label = "y"}, {{"<i>", {{1, 1}}}});
  EXPECT_THAT(svg, Not(HasSubstr("<b>")));
  EXPECT_THAT(svg, Not(HasSubstr("<i>")));
  EXPECT_THAT(svg, HasSubstr("<circle"));  // a single point is seen
}

TEST(SvgPlotTest, SaysThatThereIsNothing) {
  EXPECT_THAT(LinePlot({.title = "Refusals", .x_label = "", .y_label = ""}, {{"a", {}}}),
              HasSubstr("Refusals: nothing to show"));
}

}  // namespace
}  // namespace hadal::bench
