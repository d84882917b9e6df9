
"use strict";
const element = (id) => document.getElementById(id);
const root = location.pathname.replace(/\/_matrix\/static\/.*$/, "");
const address = root + "/_matrix/client/v3/login";
const query = new URLSearchParams(location.search);

// say shows how it went; nothing of it is markup.
function say(text, failed) {
  element("outcome").textContent = text;
  element("outcome").className = failed ? "error" : "";
}

// logIn sends the credentials with what the application has asked for, and
// hands it the answer.
async function logIn(credentials) {
  const request = { ...credentials };
  for (const name of ["device_id", "initial_device_display_name"]) {
    if (query.has(name)) request[name] = query.get(name);
  }
  if (query.has("refresh_token")) request.refresh_token = query.get("refresh_token") === "true";
  try {
    const response = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    say("You are logged in as " + answer.user_id + ". You can go back to your application.");
    element("password-form").hidden = true;
    element("elsewhere").hidden = true;
    if (window.matrixLogin && window.matrixLogin.onLogin) window.matrixLogin.onLogin(answer);
  } catch (error) {
    say(error.message, true);
  }
}

// offer shows the ways to log in that the server has.
async function offer() {
  try {
    const { flows } = await (await fetch(address)).json();
    const has = (type) => flows.some((flow) => flow.type === type);
    element("password-form").hidden = !has("m.login.password");
    if (has("m.login.sso")) {
      element("sso").href = address + "/sso/redirect?redirectUrl=" + encodeURIComponent(location.href);
      element("elsewhere").hidden = false;
    }
  } catch (error) {
    say(error.message, true);
  }
}

element("password-form").addEventListener("submit", (event) => {
  event.preventDefault();
  logIn({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: element("user").value },
    password: element("password").value,
  });
});

if (query.has("loginToken")) {
  // Once: a reload, and the way back here, are without it.
  const token = query.get("loginToken");
  query.delete("loginToken");
  history.replaceState(null, "", location.pathname + (query.size ? "?" + query : ""));
  logIn({ type: "m.login.token", token }).then(offer);
} else {
  offer();
}
