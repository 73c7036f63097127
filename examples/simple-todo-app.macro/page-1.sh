#!/bin/sh
# Attempt 1 at `page`.
set -eu
export PYTHONDONTWRITEBYTECODE=1
mkdir -p web

cat > web/index.html <<'END'
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Todos</title>
  <link rel="stylesheet" href="/style.css">
  <script src="/app.js" defer></script>
</head>
<body>
  <main>
    <h1>Todos</h1>
    <form id="add" autocomplete="off">
      <label for="title">What is to be done?</label>
      <div class="row">
        <input id="title" name="title" maxlength="200" required placeholder="Buy oat milk">
        <button type="submit">Add</button>
      </div>
    </form>
    <div class="filters" role="group" aria-label="Which todos to show">
      <button type="button" data-show="all" aria-pressed="true">All</button>
      <button type="button" data-show="open" aria-pressed="false">Open</button>
      <button type="button" data-show="done" aria-pressed="false">Done</button>
    </div>
    <ul id="todos" aria-label="Todos"></ul>
    <p id="empty" hidden>Nothing here.</p>
    <footer>
      <span id="left" role="status"></span>
      <button type="button" id="clear" hidden>Clear done</button>
    </footer>
    <p id="problem" role="alert"></p>
  </main>
  <noscript>This list needs JavaScript.</noscript>
</body>
</html>
END

cat > web/style.css <<'END'
:root {
  --ground: #f4f2ee;
  --card: #ffffff;
  --text: #23211e;
  --soft: #6a655d;
  --line: #e3dfd8;
  --accent: #1f6f54;
  --on-accent: #ffffff;
  --alarm: #a8321f;
  font: 17px/1.5 system-ui, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #191816;
    --card: #242220;
    --text: #f0ede8;
    --soft: #a8a299;
    --line: #3a3733;
    --accent: #7fd1b2;
    --on-accent: #10241c;
    --alarm: #ff9d8a;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--ground); color: var(--text); }
main {
  max-width: 34rem;
  margin: clamp(1rem, 8vh, 5rem) auto;
  padding: 1.75rem;
  background: var(--card);
  border: 1px solid var(--line);
  border-radius: 1rem;
  box-shadow: 0 1rem 3rem rgb(0 0 0 / 8%);
}
h1 { margin: 0 0 1rem; font-size: 2rem; letter-spacing: -0.02em; }
label { color: var(--soft); }
button, input { font: inherit; color: inherit; }
button { cursor: pointer; background: none; border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.4rem 0.9rem; }
button:hover { border-color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.row { display: flex; gap: 0.5rem; margin-top: 0.25rem; }
#title { flex: 1; min-width: 0; padding: 0.55rem 0.75rem; background: var(--ground); border: 1px solid var(--line); border-radius: 0.5rem; }
#add button { background: var(--accent); color: var(--on-accent); border-color: var(--accent); font-weight: 600; }
.filters { display: flex; gap: 0.4rem; margin: 1.25rem 0 0.5rem; }
.filters button { padding: 0.2rem 0.8rem; border-radius: 2rem; font-size: 0.9rem; }
.filters [aria-pressed="true"] { background: var(--text); color: var(--card); border-color: var(--text); }
#todos { list-style: none; margin: 0; padding: 0; }
#todos li { display: flex; align-items: center; gap: 0.75rem; padding: 0.6rem 0; border-bottom: 1px solid var(--line); }
#todos label { flex: 1; color: var(--text); overflow-wrap: anywhere; cursor: pointer; }
#todos input { width: 1.2rem; height: 1.2rem; accent-color: var(--accent); flex: none; }
#todos .done label { color: var(--soft); text-decoration: line-through; }
#todos button { border: 0; color: var(--soft); padding: 0.2rem 0.6rem; }
#todos button:hover { color: var(--alarm); }
#empty { color: var(--soft); text-align: center; padding: 1rem 0; margin: 0; }
footer { display: flex; justify-content: space-between; align-items: center; min-height: 2.6rem; margin-top: 0.75rem; color: var(--soft); font-size: 0.9rem; }
#problem { color: var(--alarm); margin: 0; }
END

cat > web/app.js <<'END'
"use strict";

const byId = (id) => document.getElementById(id);
const list = byId("todos");
let show = "all";

/** Asks the server; returns its answer as a value, or shows why there is none. */
async function ask(method, path, body) {
  const sent = body === undefined ? {} : {
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  try {
    const answer = await fetch(path, { method, ...sent });
    const held = answer.status === 204 ? {} : await answer.json();
    byId("problem").textContent = answer.ok ? "" : `That did not work: ${held.error}.`;
    return answer.ok ? held : null;
  } catch {
    byId("problem").textContent = "The server does not answer. Is it still running?";
    return null;
  }
}

/** Builds the line of one todo. Titles are only ever text. */
function line(todo) {
  const item = document.createElement("li");
  item.className = todo.done ? "done" : "";

  const box = document.createElement("input");
  box.type = "checkbox";
  box.id = `todo-${todo.id}`;
  box.checked = todo.done;
  box.addEventListener("change", () => change("PATCH", `/api/todos/${todo.id}`, { done: box.checked }, box.id));

  const label = document.createElement("label");
  label.htmlFor = box.id;
  label.textContent = todo.title;

  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = "✕";
  remove.setAttribute("aria-label", `Delete ${todo.title}`);
  remove.addEventListener("click", () => change("DELETE", `/api/todos/${todo.id}`, undefined, "title"));

  item.append(box, label, remove);
  return item;
}

/** Shows the list as the server has it. */
async function refresh() {
  const held = await ask("GET", `/api/todos?show=${show}`);
  if (held === null) return;
  list.replaceChildren(...held.todos.map(line));
  byId("empty").hidden = held.todos.length > 0;
  byId("left").textContent = held.open === 1 ? "1 todo left" : `${held.open} todos left`;
  byId("clear").hidden = !held.todos.some((todo) => todo.done);
}

/** Changes something, shows the result and puts the focus where it belongs. */
async function change(method, path, body, focus) {
  const held = await ask(method, path, body);
  const problem = byId("problem").textContent;
  await refresh();
  if (held === null) byId("problem").textContent = problem;
  (byId(focus) ?? byId("title")).focus();
  return held !== null;
}

byId("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("title");
  if (await change("POST", "/api/todos", { title: field.value }, "title")) field.value = "";
});

byId("clear").addEventListener("click", () => change("DELETE", "/api/todos/done", undefined, "title"));

for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    show = button.dataset.show;
    for (const other of document.querySelectorAll("[data-show]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    refresh();
  });
}

refresh();
END
