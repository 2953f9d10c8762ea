// SPDX-License-Identifier: Apache-2.0
// How one answer looks: thinking, text, figures, and what went wrong. Text from the model only ever becomes text nodes.

export function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

export function seconds(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// What the reasons of docs/api.md mean for somebody who wants an answer.
const MEANINGS = {
  BODY_BUDGET_FULL: "The request bodies in flight fill the memory that is set aside for them.",
  CONNECTION_QUEUE_FULL: "As many requests wait as the server lets wait.",
  DEVICE_FAULT: "The server's device has failed; it is being replaced.",
  DRAINING: "This server is shutting down; another one may answer.",
  GPU_MEMORY_EXHAUSTED: "The requests that run and wait need all memory for the KV cache.",
  MODEL_LOADING: "The model is still being loaded.",
  PREEMPTED_IN_QUEUE: "A request that comes first took this one's place in the queue.",
  QUEUE_TOKENS_FULL: "The waiting requests hold as many prompt tokens as the server lets wait.",
  TENANT_QUOTA: "This key has used up what it may use for now.",
  WAIT_LIMIT: "It would have waited longer than its class may.",
};

// Where the reader follows the end, new text keeps the end in sight.
function keepEnd(scroller, change) {
  const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
  change();
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

// A text that grows by its end only.
class GrowingText {
  constructor(box) {
    this.node = box.appendChild(document.createTextNode(""));
  }
  append(text) {
    this.node.appendData(text);
  }
  get value() {
    return this.node.data;
  }
}

export class AnswerView {
  constructor(log) {
    this.log = log;
    this.root = log.appendChild(element("article", "turn"));
    this.root.setAttribute("aria-busy", "true");
    this.thinking = this.root.appendChild(element("details", "thinking"));
    this.thinking.open = true;
    this.thinking.hidden = true;
    this.summary = this.thinking.appendChild(element("summary", "", "Thinking"));
    this.reasoningBox = this.thinking.appendChild(element("div", "reasoning"));
    this.reasoning = new GrowingText(this.reasoningBox);
    this.content = new GrowingText(this.root.appendChild(element("div", "answer")));
    this.facts = this.root.appendChild(element("p", "facts"));
    this.notice = null;
    this.follow();
  }

  addReasoning(text) {
    keepEnd(this.log, () => {
      this.thinking.hidden = false;
      keepEnd(this.reasoningBox, () => this.reasoning.append(text));
    });
  }

  addContent(text) {
    keepEnd(this.log, () => this.content.append(text));
  }

  setThinkingTime(ms) {
    this.summary.textContent = `Thought for ${seconds(ms)}`;
  }

  setFacts(text) {
    keepEnd(this.log, () => {
      this.facts.textContent = text;
    });
  }

  // Shows an error; returns the place for a countdown.
  showError(error) {
    this.clearNotice();
    this.notice = this.root.appendChild(element("div", "notice"));
    const alert = this.notice.appendChild(element("div"));
    alert.setAttribute("role", "alert");
    const meaning = MEANINGS[error.reason];
    const title = error.status >= 400 ? `${error.status} ${error.reason}` : "The answer broke off";
    alert.append(element("strong", "", title), element("p", "", meaning || error.message));
    const countdown = this.notice.appendChild(element("p", "countdown"));
    countdown.setAttribute("role", "timer");  // outside of the alert, which would be read out every second
    this.follow();
    return countdown;
  }

  clearNotice() {
    if (this.notice) this.notice.remove();
    this.notice = null;
  }

  finish() {
    this.root.removeAttribute("aria-busy");
  }

  follow() {
    this.log.scrollTop = this.log.scrollHeight;
  }
}
