// The pages that mailed links lead to: the token stands behind `#`, which no server is told, and goes to the door in the body.
const form = document.querySelector("form");
const said = document.querySelector("output");
const token = location.hash.slice(1);
if (token) history.replaceState(null, "", location.pathname);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  const body = Object.fromEntries(new FormData(form));
  if (form.dataset.token === "yes") body.token = token;
  try {
    const answer = await fetch(form.dataset.door, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const told = await answer.json().catch(() => ({}));
    said.textContent = answer.ok ? form.dataset.done : told.error ? told.error.message : "This did not work; try again.";
    if (answer.ok) form.hidden = true;
  } catch {
    said.textContent = "This Helix does not answer just now; try again.";
  }
  button.disabled = false;
});
