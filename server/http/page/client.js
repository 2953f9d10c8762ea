// SPDX-License-Identifier: Apache-2.0
// Talks to the server that this page came from.

const KEY_ITEM = "hadal-key";
const JSON_TYPE = {"Content-Type": "application/json"};

export function storeKey(key) {
  sessionStorage.setItem(KEY_ITEM, key);
}

function authorization() {
  const key = sessionStorage.getItem(KEY_ITEM);
  return key ? {Authorization: `Bearer ${key}`} : {};
}

// A response with an error status, or an error event inside a stream.
export class ServerError extends Error {
  constructor(status, error, headers) {
    super(error.message || `status ${status}`);
    this.status = status;
    this.reason = headers.get("x-hadal-reason") || error.code || "";
    this.retryAfterMs = Number(headers.get("retry-after-ms")) || 1000 * Number(headers.get("retry-after")) || 0;
    this.shouldRetry = headers.get("x-should-retry") === "true";
    this.promised = headers.get("x-hadal-promise") === "held";
  }
}

async function errorOf(response) {
  let error = {};
  try {
    error = (await response.json()).error || {};
  } catch {
    // Something between here and the server answered: the status is all there is.
  }
  return new ServerError(response.status, error, response.headers);
}

async function ask(path, options) {
  const response = await fetch(path, {cache: "no-store", referrerPolicy: "no-referrer", ...options});
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function fetchModels() {
  const response = await ask("v1/models", {headers: authorization()});
  return (await response.json()).data.map((model) => model.id);
}

export async function fetchMetrics(signal) {
  return (await ask("metrics", {signal})).text();
}

// Names a question for the server, so that it knows it again when it returns. Without crypto.randomUUID, which pages of
// plain http addresses lack.
export function newIdempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The answer of a running request comes next, whatever it still had to think. ServerError when it does not think.
export async function endThinking(id) {
  await ask(`v1/chat/completions/${encodeURIComponent(id)}/control`, {
    method: "POST",
    headers: {...JSON_TYPE, ...authorization()},
    body: JSON.stringify({action: "reasoning_end"}),
  });
}

// The data of server-sent events; comments and other fields are left out.
async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    pending += value;
    const events = pending.split("\n\n");
    pending = events.pop();
    for (const event of events) {
      if (event.startsWith("data: ")) yield event.slice("data: ".length);
    }
  }
}

// Chunks of a chat completion, the last with the usage; endThinking may be told their id. Throws ServerError, and what
// fetch throws.
export async function* streamChat(request, headers, signal) {
  const body = JSON.stringify({...request, stream: true, stream_options: {include_usage: true}, reasoning_control: true});
  const response = await ask("v1/chat/completions", {
    method: "POST",
    headers: {...JSON_TYPE, ...authorization(), ...headers},
    body,
    signal,
  });
  for await (const data of readEvents(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ServerError(response.status, chunk.error, new Headers());
    yield chunk;
  }
  throw new Error("the connection ended before the answer did");
}
