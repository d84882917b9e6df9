// Shows the links of a room with channels, and asks for more. Who is looking the Matrix client says,
// by an OpenID token (Widget API, MSC1960).
"use strict";

const query = new URLSearchParams(location.search);
const room = query.get("roomId") || "";
const widgetId = query.get("widgetId") || "";
const $ = (id) => document.getElementById(id);
const patience = 60000; // ms that the client, and whoever it asks, may take
const pace = 2000; // ms between looks while somebody is being asked
let session = "";

function say(text) { $("status").textContent = text; }

function complain(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = text === "";
}

// credentials asks the client for an OpenID token.
function credentials() {
  return new Promise((resolve, reject) => {
    if (window.parent === window) {
      reject(new Error("Open this page as a widget of a room, in a Matrix client."));
      return;
    }
    const requestId = "irc-" + crypto.getRandomValues(new Uint32Array(2)).join("-");
    const settle = (answer) => {
      if (answer.state === "allowed") resolve(answer);
      else if (answer.state !== "request") reject(new Error("Your client did not say who you are."));
    };
    window.addEventListener("message", (event) => {
      const message = event.data;
      if (event.source !== window.parent || typeof message !== "object" || message === null) return;
      if (message.api === "fromWidget" && message.requestId === requestId && message.response) settle(message.response);
      if (message.api !== "toWidget" || message.response) return;
      let response = {};
      if (message.action === "capabilities") response = { capabilities: [] };
      if (message.action === "supported_api_versions") response = { supported_versions: ["0.0.1", "0.0.2"] };
      if (message.action === "openid_credentials" && message.data && message.data.original_request_id === requestId) settle(message.data);
      window.parent.postMessage({ ...message, response }, event.origin);
    });
    window.parent.postMessage({ api: "fromWidget", action: "get_openid", requestId, widgetId, data: {} }, "*");
    setTimeout(() => reject(new Error("Your client does not answer.")), patience);
  });
}

async function call(method, path, body) {
  const headers = {};
  if (session) headers.Authorization = "Bearer " + session;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch("v1/" + path, { method, headers, body: body && JSON.stringify(body), credentials: "omit" });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || "The bridge does not answer.");
  return answer;
}

// attempt does something that may go wrong, with a button that is off meanwhile.
async function attempt(button, what) {
  complain("");
  button.disabled = true;
  try {
    await what();
  } catch (error) {
    complain(error.message);
  } finally {
    button.disabled = false;
  }
}

const states = {
  asked: "an operator is being asked", granted: "is being linked", linked: "linked", ending: "is ending",
  refused: "was refused", expired: "nobody has answered",
};

function show(link) {
  const item = document.createElement("li");
  const text = document.createElement("span");
  text.textContent = `${link.remote_room_channel} (${link.remote_room_server}): ${states[link.state] || link.state}`;
  item.append(text);
  if (link.state === "linked" || link.state === "asked") {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = link.state === "linked" ? "Unlink" : "Take back";
    button.setAttribute("aria-label", `${button.textContent} ${link.remote_room_channel}`);
    button.addEventListener("click", () => attempt(button, async () => {
      await call("POST", "unlink", {
        matrix_room_id: room, remote_room_channel: link.remote_room_channel, remote_room_server: link.remote_room_server,
      });
      await refresh();
    }));
    item.append(button);
  }
  return item;
}

let timer = 0;

async function refresh() {
  clearTimeout(timer);
  const links = await call("GET", "listlinks/" + encodeURIComponent(room));
  $("list").replaceChildren(...links.map(show));
  $("links").hidden = links.length === 0;
  const active = links.filter((link) => link.state !== "refused" && link.state !== "expired");
  $("ask").hidden = active.length > 0;
  say(active.length === 0 ? "No channel is linked with this room." : "");
  if (active.some((link) => link.state !== "linked")) timer = setTimeout(() => refresh().catch((error) => complain(error.message)), pace);
}

function wish() {
  return { matrix_room_id: room, remote_room_server: $("network").value, remote_room_channel: $("channel").value.trim(), key: $("key").value.trim() };
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(event.submitter || $("look"), async () => {
    await call("POST", "link", { ...wish(), op_nick: $("nick").value.trim() });
    await refresh();
  });
});

$("look").addEventListener("click", () => attempt($("look"), async () => {
  if (!$("channel").reportValidity()) return;
  const { operators } = await call("POST", "querylink", wish());
  $("operators").replaceChildren(...operators.map((nick) => new Option(nick, nick)));
  say(operators.length === 0 ? "No operator is there at the moment." : "Its operators: " + operators.join(", "));
}));

async function start() {
  if (!room) throw new Error("The address of this page names no room.");
  const token = await credentials();
  session = (await call("POST", "exchange_openid", { openIdToken: token.access_token, matrixServer: token.matrix_server_name })).token;
  const { servers } = await call("GET", "querynetworks");
  $("network").replaceChildren(...servers.filter((server) => server.plumbing).map((server) => new Option(server.desc, server.network_id)));
  await refresh();
}

start().catch((error) => {
  say("");
  complain(error.message);
});
