// SPDX-License-Identifier: Apache-2.0
// Connects the page's elements with the conversation and the load view.

import {element} from "./answer.js";
import {Chat} from "./chat.js";
import {fetchModels, storeKey} from "./client.js";
import {LoadView} from "./load.js";

const get = (id) => document.getElementById(id);
const NUMBERS = ["temperature", "top_p", "top_k", "seed", "max_tokens"];
const MODELS_RETRY_MS = 2000;

// An empty field is left out, so that the server's default holds.
function readSettings() {
  const request = {};
  const headers = {};
  if (get("model").value) request.model = get("model").value;
  if (get("thinking").value) request.thinking = {type: get("thinking").value};
  for (const id of NUMBERS) {
    if (get(id).value !== "") request[id] = Number(get(id).value);
  }
  if (get("priority").value) headers["X-Hadal-Priority"] = get("priority").value;
  return {request, headers, system: get("system").value.trim(), autoRetry: get("auto-retry").checked};
}

function updateButtons(chat) {
  get("send").disabled = chat.busy;
  get("stop").disabled = !chat.busy;
  get("end-thinking").disabled = !chat.thinking;
  get("retry").disabled = !chat.canRetry;
  get("clear").disabled = chat.empty;
}

const chat = new Chat(get("log"), readSettings, () => updateButtons(chat));

function send() {
  const text = get("question").value.trim();
  if (!text || chat.busy || !get("composer").reportValidity()) return;
  get("hint")?.remove();
  get("question").value = "";
  chat.send(text);
}

function onQuestionKey(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
}

// The models tell whether a key is wanted, and whether it is the right one.
async function connect(keyGiven) {
  try {
    const models = await fetchModels();
    get("model").replaceChildren(...models.map((id) => element("option", "", id)));
    get("key-form").hidden = true;
    if (models.length === 0) setTimeout(() => connect(keyGiven), MODELS_RETRY_MS);  // they are being loaded
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      askForKey(keyGiven ? error.message : "");
    } else {
      setTimeout(() => connect(keyGiven), MODELS_RETRY_MS);
    }
  }
}

function askForKey(problem) {
  get("key-form").hidden = false;
  get("key-error").hidden = !problem;
  get("key-error").textContent = problem;
  get("key").focus();
}

get("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
get("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  storeKey(get("key").value.trim());
  get("key").value = "";
  connect(true);
});
get("composer").addEventListener("invalid", () => {
  get("settings").open = true;  // what is wrong may be hidden in there
}, true);
get("question").addEventListener("keydown", onQuestionKey);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") chat.stop();
});
get("stop").addEventListener("click", () => chat.stop());
get("end-thinking").addEventListener("click", () => chat.endThinking());
get("retry").addEventListener("click", () => chat.retry());
get("clear").addEventListener("click", () => {
  chat.clear();
  get("question").focus();
});

connect(false);
new LoadView({
  plots: get("plots"),
  refusals: get("refusals"),
  state: get("state"),
  stale: get("stale"),
  build: get("build"),
}).start();
