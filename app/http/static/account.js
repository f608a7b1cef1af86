// The pages that mailed links lead to: the token stands behind `#`, which no server is told, and goes to the door in the body.
const form = document.querySelector("form");
const said = document.querySelector("output");
const token = location.hash.slice(1);
if (token) history.replaceState(null, "", location.pathname);

async function post(door, body, bearer) {
  const headers = { "content-type": "application/json" };
  if (bearer) headers.authorization = `Bearer ${bearer}`;
  const answer = await fetch(door, { method: "POST", headers, body: JSON.stringify(body) });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ? told.error.message : "This did not work; try again.");
  return told;
}

async function send(typed) {
  if (form.dataset.signsIn !== "yes") {
    const body = form.dataset.token === "yes" ? { ...typed, token } : typed;
    return post(form.dataset.door, body);
  }
  const session = await post("/v1/auth/sign-in", typed);
  try {
    return await post(form.dataset.door, { token }, session.access_token);
  } finally {
    await post("/v1/auth/sign-out", {}, session.access_token);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await send(Object.fromEntries(new FormData(form)));
    said.textContent = form.dataset.done;
    form.hidden = true;
  } catch (failed) {
    said.textContent = failed instanceof TypeError ? "This Helix does not answer just now; try again." : failed.message;
  }
  button.disabled = false;
});
