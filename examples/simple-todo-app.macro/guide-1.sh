#!/bin/sh
# Attempt 1 at `guide`.
set -eu
export PYTHONDONTWRITEBYTECODE=1
mkdir -p docs

cat > docs/guide.md <<'END'
# The todo list

A list of things to do, on this machine only. It needs Python 3.11 and nothing else.

## Start it

```sh
PYTHONPATH=src python3 -m todo
```

Open the address it prints. `--port 0` takes any free port, `--file ~/todos.json` keeps the list
somewhere else than in `todos.json` beside you. Ctrl-C ends it; the list is on disk after every change.

## Use it from a program

| request | does | answers |
|---|---|---|
| `GET /api/todos?show=all` | lists; `show` is `all`, `open` or `done` | 200 `{"todos": […], "open": 1}` |
| `POST /api/todos` `{"title": "milk"}` | adds | 201 and the todo |
| `PATCH /api/todos/1` `{"done": true}` | marks as done, `false` as open; `{"title": "…"}` renames | 200 and the todo |
| `DELETE /api/todos/1` | removes one | 204 |
| `DELETE /api/todos/done` | removes all that are done | 200 `{"cleared": 1}` |

A todo is `{"id": 1, "title": "milk", "done": false}`. Anything wrong is answered with
`{"error": "why"}` and 400, 404, 411, 413 or 415. Requests with a body must be `application/json`.

## If something is wrong

- *"is not a todo file"*: the file was changed by something else. It is left as it is; move it
  away to start with an empty list.
- *"Address already in use"*: another program has the port. Take `--port 0`.

## Test it

```sh
python3 -m unittest discover -s tests -v
```
END
