// SPDX-License-Identifier: Apache-2.0
// The conversation: asks, shows the answer as it comes, stops, asks again, and waits out refusals.

import {AnswerView, element, seconds} from "./answer.js";
import {ServerError, endThinking, newIdempotencyKey, streamChat} from "./client.js";

const MAX_ATTEMPTS = 5;  // without being told to

// Figures of one answer, in milliseconds.
class Timing {
  constructor() {
    this.begin = performance.now();
    this.first = 0;
    this.answering = false;
    this.pieces = 0;
    this.usage = null;
  }

  // A piece of text has come.
  note() {
    if (!this.first) this.first = performance.now();
    this.pieces += 1;
  }

  // While the answer grows the pieces stand for the tokens, of which nearly all make one each.
  describe() {
    const now = performance.now();
    const parts = [];
    if (this.usage) {
      const thinking = (this.usage.completion_tokens_details || {}).reasoning_tokens;
      parts.push(`${this.usage.prompt_tokens} prompt tokens`);
      parts.push(`${this.usage.completion_tokens} output tokens${thinking ? ` (${thinking} thinking)` : ""}`);
    } else {
      parts.push(`about ${this.pieces} output tokens`);
    }
    const tokens = this.usage ? this.usage.completion_tokens : this.pieces;
    if (this.first) parts.push(`first after ${seconds(this.first - this.begin)}`);
    if (this.first && tokens > 1 && now > this.first) {
      const speed = (1000 * (tokens - 1)) / (now - this.first);
      parts.push(`${speed.toFixed(speed < 100 ? 1 : 0)} tokens/s`);
    }
    parts.push(seconds(now - this.begin));
    return parts.join(" · ");
  }
}

export class Chat {
  // `settings` returns {request, headers, system, autoRetry}; `changed` is told when buttons may have to change.
  constructor(log, settings, changed) {
    this.log = log;
    this.settings = settings;
    this.changed = changed;
    this.messages = [];
    this.answer = null;
    this.stopping = null;  // AbortController while an answer is under way
    this.hurry = null;  // ends a countdown early
    this.thinkingId = "";  // of the answer whose thinking is under way
  }

  get busy() {
    return this.stopping !== null;
  }
  get thinking() {
    return this.thinkingId !== "";
  }
  get canRetry() {
    return this.hurry !== null || (!this.busy && this.messages.length > 0);
  }
  get empty() {
    return this.messages.length === 0;
  }

  send(text) {
    this.messages.push({role: "user", content: text});
    this.log.append(element("div", "question", text));
    return this.run();
  }

  stop() {
    if (this.stopping) this.stopping.abort();
  }

  // The answer goes on behind its thinking. Once: until the thinking has ended there is nothing more to say.
  async endThinking() {
    const {thinkingId: id, stopping} = this;
    if (!id) return;
    this.setThinking("");
    try {
      await endThinking(id);
    } catch (error) {
      // Refused: it has ended by itself. Else the server was not reached, and the user may try again.
      if (!(error instanceof ServerError) && stopping === this.stopping && this.busy) this.setThinking(id);
    }
  }

  setThinking(id) {
    if (this.thinkingId === id) return;
    this.thinkingId = id;
    this.changed();
  }

  // Asks the last question once more, at once.
  retry() {
    if (this.hurry) return this.hurry();
    if (!this.canRetry) return undefined;
    if (this.messages.at(-1).role === "assistant") this.messages.pop();
    if (this.answer) this.answer.root.remove();
    return this.run();
  }

  clear() {
    this.stop();
    this.messages = [];
    this.answer = null;
    this.thinkingId = "";
    this.log.replaceChildren();
    this.changed();
  }

  // One question to its end: answered, stopped or given up.
  async run() {
    const stopping = new AbortController();
    const answer = new AnswerView(this.log);
    const key = newIdempotencyKey();
    this.stopping = stopping;
    this.answer = answer;
    this.changed();
    let attempt = 0;
    while (await this.attempt(answer, attempt, key, stopping.signal)) ++attempt;
    answer.finish();
    if (this.stopping === stopping) {
      this.stopping = null;
      this.thinkingId = "";
    }
    this.changed();
  }

  // True: ask again.
  async attempt(answer, attempt, key, signal) {
    const timing = new Timing();
    const headers = {"Idempotency-Key": key, "X-Stainless-Retry-Count": `${attempt}`};
    try {
      await this.stream(answer, timing, headers, signal);
      return false;
    } catch (error) {
      if (signal.aborted) {
        answer.setFacts(`Stopped · ${timing.describe()}`);
        this.remember(answer);
        return false;
      }
      const countdown = answer.showError(error);
      if (error instanceof ServerError && error.retryAfterMs > 0) {
        const byItself = error.shouldRetry && attempt + 1 < MAX_ATTEMPTS && this.settings().autoRetry;
        return this.waitOut(error, byItself, countdown, signal);
      }
      if (timing.pieces > 0) answer.setFacts(timing.describe());
      return false;
    }
  }

  async stream(answer, timing, headers, signal) {
    const {request, headers: own, system} = this.settings();
    const messages = system ? [{role: "system", content: system}, ...this.messages] : this.messages;
    for await (const chunk of streamChat({...request, messages}, {...own, ...headers}, signal)) {
      answer.clearNotice();
      if (chunk.usage) timing.usage = chunk.usage;
      for (const choice of chunk.choices) this.show(answer, timing, choice.delta, chunk.id);
    }
    answer.setFacts(timing.describe());
    this.remember(answer);
  }

  show(answer, timing, delta, id) {
    if (delta.reasoning_content) {
      if (!answer.reasoning.value) this.setThinking(id);
      timing.note();
      answer.addReasoning(delta.reasoning_content);
    }
    if (delta.content) {
      if (!timing.answering && answer.reasoning.value) answer.setThinkingTime(performance.now() - timing.first);
      this.setThinking("");
      timing.note();
      timing.answering = true;
      answer.addContent(delta.content);
    }
    if (timing.pieces > 0) answer.setFacts(timing.describe());
  }

  remember(answer) {
    if (this.answer !== answer || !answer.content.value) return;
    this.messages.push({role: "assistant", content: answer.content.value});
  }

  // Counts down to the time that the server named. True: ask again, because it has come or the user wants it now.
  async waitOut(error, byItself, countdown, signal) {
    const end = performance.now() + error.retryAfterMs;
    const rest = error.promised ? "a place is kept for you then" : "nothing is kept for you then";
    const hurried = new Promise((resolve) => {
      this.hurry = () => resolve(true);
      signal.addEventListener("abort", () => resolve(false));
    });
    this.changed();
    let outcome;
    while (outcome === undefined) {
      const left = Math.ceil((end - performance.now()) / 1000);
      if (left <= 0) {
        outcome = byItself;
        break;
      }
      countdown.textContent = byItself
        ? `Asks again in ${left} s; ${rest}.`
        : `Worth another try in ${left} s; ${rest}.`;
      const tick = new Promise((resolve) => setTimeout(resolve, Math.min(250, Math.max(0, end - performance.now()))));
      outcome = await Promise.race([hurried, tick]);
    }
    this.hurry = null;
    if (signal.aborted) countdown.textContent = "Stopped.";
    else countdown.textContent = outcome ? "Asking again." : "Worth another try now.";
    this.changed();
    return outcome;
  }
}
