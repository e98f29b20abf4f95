// Where the parts meet.

import { Announcer } from "./announcer.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { KeyDialog } from "./key-dialog.js";
import { Keys, takeKeyFromAddress } from "./keys.js";
import { SettingsPanel } from "./settings-panel.js";
import { parameters, varied } from "./settings.js";
import { StatusView } from "./status-view.js";
import { ThemeSwitch } from "./theme-switch.js";
import { Transcript } from "./transcript.js";

const at = (id) => document.getElementById(id);

const keys = new Keys(sessionStorage);
const connection = new Connection(keys);
const panel = new SettingsPanel(localStorage, {
  panel: at("settings"),
  toggle: at("settings-toggle"),
  close: at("settings-close"),
  reset: at("settings-reset"),
  model: at("model"),
  answering: at("answering"),
  instructions: at("instructions"),
  tools: at("tools"),
  numbers: at("numbers"),
});
const chat = new Chat(connection, keys, asked, sessionStorage);
const keyDialog = new KeyDialog(
  { dialog: at("key-dialog"), field: at("key"), fault: at("key-fault"), later: at("key-later") },
  useKey,
);
const composer = new Composer(chat, connection, sessionStorage, {
  form: at("composer"),
  field: at("message"),
  send: at("send"),
  stop: at("stop"),
  hint: at("hint"),
});

const ACTIONS = {
  retry: (turn) => chat.retry(turn) || composer.explain(),
  send: (turn, text) => chat.edit(turn, text) || composer.explain(),
  answer: (turn, outputs) => chat.answer(turn, outputs) || composer.explain(),
  resend: (turn) => chat.resend(turn) || composer.explain(),
  select: (_, sibling) => chat.select(sibling),
  settings: () => panel.open(),
  key: () => keyDialog.ask(),
  new: begin,
};

new Transcript(
  chat,
  { scroller: at("transcript"), list: at("turns"), empty: at("empty"), jump: at("jump") },
  (name, turn, argument) => ACTIONS[name](turn, argument),
);
new Announcer(chat, at("announcements"));
new StatusView(connection, { root: at("status"), said: at("status-said") }, () => keyDialog.ask());
new ThemeSwitch(localStorage, at("theme"));

connection.addEventListener("state", () => {
  const { name, message } = connection.state;
  showBanner(name === "waiting" || name === "stopped" ? message : "");
  if (name === "key") keyDialog.ask(message);
  if (name === "open") offerModels();
});
chat.addEventListener("fault", ({ detail }) => showBanner(detail.error.message));
at("new-chat").addEventListener("click", begin);
for (const suggestion of document.querySelectorAll("#empty button")) {
  suggestion.addEventListener("click", () => composer.suggest(suggestion.textContent));
}
window.addEventListener("hashchange", takeKey);
window.addEventListener("online", () => connection.state.name === "waiting" && connection.connect());
window.addEventListener("pagehide", () => chat.save());
document.addEventListener("visibilitychange", () => document.hidden && chat.save()); // a phone may end the page later

if (!takeKey()) connection.connect();
composer.focus();

function asked(another) {
  const fields = parameters(panel.values);
  return another ? varied(fields, panel.defaults, Math.floor(Math.random() * 2 ** 31)) : fields;
}

function takeKey() {
  const key = takeKeyFromAddress(location, history);
  if (key !== null) useKey(key);
  return key !== null;
}

function useKey(key) {
  keys.keep(key);
  connection.connect();
}

function begin() {
  chat.begin();
  composer.focus();
}

async function offerModels() {
  try {
    panel.offer(await keys.models());
  } catch (error) {
    showBanner(`The list of models could not be read. ${error.message}`);
  }
}

function showBanner(text) {
  at("banner").textContent = text;
  at("banner").hidden = text === "";
}
