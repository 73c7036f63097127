#!/bin/sh
# Attempt 1 at `api`. Its server takes `"done": false` for no change at all: the test that a todo
# can be taken back finds it.
set -eu
export PYTHONDONTWRITEBYTECODE=1
mkdir -p src/todo tests

cat > src/todo/server.py <<'END'
"""Serves the todos as JSON and the page that shows them."""

import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

WEB = Path(__file__).resolve().parent.parent.parent / "web"
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
}
BODY_MAX = 64 * 1024
# A larger body is read this far before it is refused: an answer in the middle of it would be lost.
READ_MAX = 1024 * 1024
ONE_TODO = re.compile(r"/api/todos/([0-9]{1,15})")
SHOWN = {"all": lambda todo: True, "open": lambda todo: not todo["done"], "done": lambda todo: todo["done"]}


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status
        self.reason = reason


class TodoServer(ThreadingHTTPServer):
    """An HTTP server over one store."""

    daemon_threads = True

    def __init__(self, address, store, web=WEB):
        super().__init__(address, Answer)
        self.store = store
        self.web = Path(web)


class Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server_version = "todo"
    timeout = 30

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._post)

    def do_PATCH(self):
        self._answer(self._patch)

    def do_DELETE(self):
        self._answer(self._delete)

    def log_message(self, format, *args):
        """Stays quiet: a local program has no use for an access log."""

    def _get(self, url):
        if url.path == "/api/todos":
            shown = parse_qs(url.query).get("show", ["all"])[-1]
            if shown not in SHOWN:
                raise Refused(HTTPStatus.BAD_REQUEST, "show is one of all, open, done")
            todos = self.server.store.list()
            left = sum(1 for todo in todos if not todo["done"])
            return self._json(HTTPStatus.OK, {"todos": list(filter(SHOWN[shown], todos)), "open": left})
        if url.path in PAGES:
            name, kind = PAGES[url.path]
            return self._send(HTTPStatus.OK, kind, (self.server.web / name).read_bytes())
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")

    def _post(self, url):
        if url.path != "/api/todos":
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        todo = self.server.store.add(self._body().get("title"))
        return self._json(HTTPStatus.CREATED, todo)

    def _patch(self, url):
        todo_id = self._todo_id(url)
        change = self._body()
        todo = None
        if "title" in change:
            todo = self.server.store.rename(todo_id, change["title"])
        if change.get("done"):
            todo = self.server.store.set_done(todo_id, change["done"])
        if todo is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "give done or title")
        return self._json(HTTPStatus.OK, todo)

    def _delete(self, url):
        if url.path == "/api/todos/done":
            return self._json(HTTPStatus.OK, {"cleared": self.server.store.clear_done()})
        self.server.store.remove(self._todo_id(url))
        return self._send(HTTPStatus.NO_CONTENT, None, b"")

    def _todo_id(self, url):
        match = ONE_TODO.fullmatch(url.path)
        if match is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        return int(match.group(1))

    def _body(self):
        """Returns the JSON object that was sent. Demanding the type keeps forms of other sites out."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        sent = self.rfile.read(min(int(length), READ_MAX))
        if int(length) > BODY_MAX:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {BODY_MAX} bytes")
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        try:
            body = json.loads(sent)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "that is not JSON") from error
        if not isinstance(body, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "send a JSON object")
        return body

    def _answer(self, method):
        try:
            method(urlsplit(self.path))
        except Refused as refused:
            self._refuse(refused.status, refused.reason)
        except KeyError:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such todo")
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))

    def _refuse(self, status, reason):
        self.close_connection = True
        self._json(status, {"error": reason})

    def _json(self, status, value):
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status, kind, body):
        self.send_response(status)
        if kind is not None:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
END

cat > src/todo/__main__.py <<'END'
"""Starts the server: `PYTHONPATH=src python3 -m todo`."""

import argparse
import sys

from todo.server import TodoServer
from todo.store import Store, StoreError


def main():
    words = argparse.ArgumentParser(prog="todo", description="Serves a todo list on this machine.")
    words.add_argument("--port", type=int, default=8000, help="0 takes any free port (default: 8000)")
    words.add_argument("--file", default="todos.json", help="where the todos are kept (default: todos.json)")
    given = words.parse_args()
    try:
        server = TodoServer(("127.0.0.1", given.port), Store(given.file))
    except (OSError, OverflowError, StoreError) as error:
        return f"todo: {error}"
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
END

cat > tests/test_api.py <<'END'
"""The JSON interface over real HTTP on the loopback address."""

import json
import sys
import tempfile
import threading
import unittest
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from todo.server import TodoServer  # noqa: E402
from todo.store import Store  # noqa: E402


class ApiTest(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        web = Path(held.name) / "web"
        web.mkdir()
        (web / "index.html").write_text("<title>page</title>", encoding="utf-8")
        (Path(held.name) / "secret").write_text("secret", encoding="utf-8")
        self.server = TodoServer(("127.0.0.1", 0), Store(Path(held.name) / "todos.json"), web)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, method, path, body=None, kind="application/json"):
        """Returns status and body of an answer; the body as a value when it is JSON."""
        connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, sent, {} if sent is None else {"Content-Type": kind})
            answer = connection.getresponse()
            held = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(held) if is_json else held
        finally:
            connection.close()

    def test_a_todo_is_added_and_listed(self):
        self.assertEqual(
            self.ask("POST", "/api/todos", {"title": "milk"}), (201, {"id": 1, "title": "milk", "done": False})
        )
        self.assertEqual(
            self.ask("GET", "/api/todos"), (200, {"todos": [{"id": 1, "title": "milk", "done": False}], "open": 1})
        )

    def test_done_can_be_set_and_taken_back(self):
        self.ask("POST", "/api/todos", {"title": "milk"})
        self.assertEqual(
            self.ask("PATCH", "/api/todos/1", {"done": True}), (200, {"id": 1, "title": "milk", "done": True})
        )
        self.assertEqual(
            self.ask("PATCH", "/api/todos/1", {"done": False}), (200, {"id": 1, "title": "milk", "done": False})
        )

    def test_a_todo_is_renamed(self):
        self.ask("POST", "/api/todos", {"title": "milk"})
        self.assertEqual(self.ask("PATCH", "/api/todos/1", {"title": "oat milk"})[1]["title"], "oat milk")

    def test_a_todo_is_removed(self):
        self.ask("POST", "/api/todos", {"title": "milk"})
        self.assertEqual(self.ask("DELETE", "/api/todos/1"), (204, b""))
        self.assertEqual(self.ask("GET", "/api/todos"), (200, {"todos": [], "open": 0}))

    def test_the_list_is_filtered(self):
        for title in ["milk", "bread"]:
            self.ask("POST", "/api/todos", {"title": title})
        self.ask("PATCH", "/api/todos/1", {"done": True})
        for show, ids in [("all", [1, 2]), ("open", [2]), ("done", [1])]:
            with self.subTest(show=show):
                status, held = self.ask("GET", f"/api/todos?show={show}")
                self.assertEqual((status, [todo["id"] for todo in held["todos"]], held["open"]), (200, ids, 1))
        self.assertEqual(self.ask("GET", "/api/todos?show=some")[0], 400)

    def test_what_is_done_is_cleared(self):
        self.ask("POST", "/api/todos", {"title": "milk"})
        self.ask("PATCH", "/api/todos/1", {"done": True})
        self.assertEqual(self.ask("DELETE", "/api/todos/done"), (200, {"cleared": 1}))

    def test_an_unknown_todo_is_404(self):
        self.assertEqual(self.ask("PATCH", "/api/todos/9", {"done": True})[0], 404)
        self.assertEqual(self.ask("DELETE", "/api/todos/9")[0], 404)

    def test_bad_requests_are_refused(self):
        self.ask("POST", "/api/todos", {"title": "milk"})
        table = [
            ("POST", {"title": " "}, "application/json", 400),
            ("POST", ["title"], "application/json", 400),
            ("POST", b"{", "application/json", 400),
            ("PATCH", {"done": "no"}, "application/json", 400),
            ("PATCH", {}, "application/json", 400),
            ("POST", {"title": "milk"}, "text/plain", 415),
            ("POST", b"x" * (64 * 1024 + 1), "application/json", 413),
        ]
        for method, body, kind, status in table:
            with self.subTest(status=status, kind=kind):
                path = "/api/todos/1" if method == "PATCH" else "/api/todos"
                found, held = self.ask(method, path, body, kind)
                self.assertEqual(found, status)
                self.assertTrue(held["error"])
        self.assertEqual(self.ask("GET", "/api/todos")[1]["todos"], [{"id": 1, "title": "milk", "done": False}])

    def test_only_the_page_is_served(self):
        self.assertEqual(self.ask("GET", "/"), (200, b"<title>page</title>"))
        for path in ["/../secret", "/%2e%2e/secret", "//secret", "/index.html/../../secret", "/api"]:
            with self.subTest(path=path):
                self.assertEqual(self.ask("GET", path)[0], 404)


if __name__ == "__main__":
    unittest.main()
END
