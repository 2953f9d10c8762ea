// SPDX-License-Identifier: Apache-2.0
// Reads /metrics (Prometheus text format) and computes what the plots show. Knows no document.

const LINE = /^(hadal_[a-z_]+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-z_]+)="((?:[^"\\]|\\.)*)"/g;

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of (text || "").matchAll(LABEL)) labels[name] = value;
  return labels;
}

// One scrape: the series of hadal by name, as [{labels, value}].
export class Scrape {
  constructor(text, timeMs) {
    this.timeMs = timeMs;
    this.series = new Map();
    for (const line of text.split("\n")) {
      const match = LINE.exec(line);
      if (!match) continue;
      const [, name, labels, value] = match;
      if (!this.series.has(name)) this.series.set(name, []);
      this.series.get(name).push({labels: labelsOf(labels), value: Number(value)});
    }
  }

  all(name) {
    return this.series.get(name) || [];
  }

  sum(name) {
    return this.all(name).reduce((total, {value}) => total + value, 0);
  }

  // A counter's sums by a label, largest first; zeros are left out.
  by(name, label) {
    const sums = new Map();
    for (const {labels, value} of this.all(name)) sums.set(labels[label], (sums.get(labels[label]) || 0) + value);
    return [...sums].filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]);
  }

  // A histogram's cumulative counts by upper bound, over all other labels.
  buckets(name) {
    const counts = new Map();
    for (const {labels, value} of this.all(`${name}_bucket`)) {
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      counts.set(bound, (counts.get(bound) || 0) + value);
    }
    return counts;
  }
}

// A counter's growth a second; a restart of the server counts from 0.
export function rate(before, now, name) {
  const growth = now.sum(name) - before.sum(name);
  const elapsed = (now.timeMs - before.timeMs) / 1000;
  if (elapsed <= 0) return null;
  return Math.max(0, growth) / elapsed;
}

// The q-quantile of what a histogram took in between two scrapes, linear inside a bucket; null when that was nothing.
export function quantile(before, now, name, q) {
  const old = before.buckets(name);
  const bounds = [...now.buckets(name)].sort((a, b) => a[0] - b[0]);
  const counts = bounds.map(([bound, count]) => [bound, count - (old.get(bound) || 0)]);
  const total = counts.length > 0 ? counts.at(-1)[1] : 0;
  if (!(total > 0)) return null;
  const rank = q * total;
  let lower = 0;
  let below = 0;
  for (const [bound, count] of counts) {
    if (count >= rank) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (rank - below)) / Math.max(count - below, 1e-9);
    }
    lower = bound;
    below = count;
  }
  return lower;
}
