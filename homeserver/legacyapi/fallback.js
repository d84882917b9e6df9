
document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const value = (id) => document.getElementById(id).value;
  const outcome = document.getElementById("outcome");
  try {
    const response = await fetch(location.pathname.replace(/\/fallback$/, ""), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ type: "m.login.password", user: value("user"), password: value("password") }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    outcome.textContent = "You are logged in as " + answer.user_id + ".";
    if (window.onLogin) window.onLogin(answer);
  } catch (error) {
    outcome.textContent = error.message;
  }
});
