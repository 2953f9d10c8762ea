// SPDX-License-Identifier: Apache-2.0
// The load of the server: asks /metrics every second while the page is seen, and draws it.

import {element, seconds} from "./answer.js";
import {fetchMetrics} from "./client.js";
import {Scrape, quantile, rate} from "./metrics.js";
import {Plot} from "./plots.js";

const INTERVAL_MS = 1000;
const TIMEOUT_MS = 5000;
const WINDOW_MS = 30000;  // what percentiles look back on

const count = (value) => String(Math.round(value));
const perSecond = (value) => (value < 10 && value % 1 !== 0 ? value.toFixed(1) : count(value));
const percent = (value) => `${Math.round(100 * value)}%`;
const time = (value) => (value < 0.01 ? `${(1000 * value).toFixed(1)} ms` : seconds(1000 * value));

const ONE = [{label: "", style: "first"}];
const QUANTILES = [{label: "p50", style: "first"}, {label: "p99", style: "second"}];

// `values` computes one value a line from the newest scrape, the one before it, and the oldest of the window.
const PLOTS = [
  {title: "Queue", lines: ONE, format: count, values: (now) => [now.sum("hadal_requests_waiting")]},
  {title: "Batch", lines: ONE, format: count, values: (now) => [now.sum("hadal_requests_running")]},
  {title: "KV cache", lines: ONE, format: percent, max: 1, values: (now) => [now.sum("hadal_kv_cache_usage_ratio")]},
  {
    title: "Tokens/s",
    lines: [{label: "out", style: "first"}, {label: "in", style: "second"}],
    format: perSecond,
    values: (now, last) => [
      rate(last, now, "hadal_generation_tokens_total"),
      rate(last, now, "hadal_prompt_tokens_total"),
    ],
  },
  {
    title: "First token",
    lines: QUANTILES,
    format: time,
    values: (now, last, old) => [0.5, 0.99].map((q) => quantile(old, now, "hadal_time_to_first_token_seconds", q)),
  },
  {
    title: "Between tokens",
    lines: QUANTILES,
    format: time,
    values: (now, last, old) => [0.5, 0.99].map((q) => quantile(old, now, "hadal_inter_token_latency_seconds", q)),
  },
  {
    title: "Refusals/s",
    lines: [{label: "", style: "second"}],
    format: perSecond,
    values: (now, last) => [rate(last, now, "hadal_admission_rejections_total")],
  },
];

function stateOf(scrape) {
  if (scrape.sum("hadal_draining") > 0) return "draining";
  if (scrape.sum("hadal_ready") > 0) return "ready";
  return `loading ${percent(scrape.sum("hadal_model_load_progress_ratio"))}`;
}

function describeBuild(scrape) {
  const parts = scrape.all("hadal_build_info").map(({labels}) => `hadal ${labels.version}`);
  for (const {labels} of scrape.all("hadal_model_info")) {
    parts.push(`${labels.model} (${labels.family}, ${labels.dtype}, ${labels.device})`);
  }
  return parts.join(" · ");
}

export class LoadView {
  // Elements: plots, refusals, state, stale, build.
  constructor(elements) {
    this.elements = elements;
    this.plots = PLOTS.map((options) => ({plot: new Plot(elements.plots, options), values: options.values}));
    this.scrapes = [];
  }

  start() {
    this.tick();
  }

  async tick() {
    if (!document.hidden) await this.refresh();
    setTimeout(() => this.tick(), INTERVAL_MS);
  }

  async refresh() {
    const {stale} = this.elements;
    try {
      const text = await fetchMetrics(AbortSignal.timeout(TIMEOUT_MS));
      this.add(new Scrape(text, performance.now()));
      stale.hidden = true;
    } catch (error) {
      stale.textContent = `No metrics from the server: ${error.message}`;
      stale.hidden = false;
      this.elements.state.textContent = "no answer";
    }
  }

  add(scrape) {
    this.scrapes.push(scrape);
    while (this.scrapes.length > 2 && scrape.timeMs - this.scrapes[1].timeMs >= WINDOW_MS) this.scrapes.shift();
    const last = this.scrapes.at(-2) || scrape;
    for (const {plot, values} of this.plots) plot.push(values(scrape, last, this.scrapes[0]));
    this.describe(scrape);
  }

  describe(scrape) {
    const {state, refusals, build} = this.elements;
    const running = count(scrape.sum("hadal_requests_running"));
    const waiting = count(scrape.sum("hadal_requests_waiting"));
    const text = `${stateOf(scrape)} · ${running} running · ${waiting} waiting`;
    if (state.textContent !== text) state.textContent = text;
    build.textContent = describeBuild(scrape);
    const reasons = scrape.by("hadal_admission_rejections_total", "reason");
    const rows = reasons.length > 0 ? reasons : [["none", 0]];
    refusals.replaceChildren(...rows.flatMap(([reason, value]) => [
      element("dt", "", reason), element("dd", "", count(value)),
    ]));
  }
}
