#!/bin/sh
# Attempt 1 at `journey`.
set -eu
export PYTHONDONTWRITEBYTECODE=1
mkdir -p tests

cat > tests/test_journey.py <<'END'
"""The whole program, as a person meets it: started, used, stopped, started again."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent


class Program:
    """A running `python3 -m todo` on a free port."""

    def __init__(self, file):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "todo", "--port", "0", "--file", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        line = self.process.stdout.readline()
        self.port = urlsplit(line.removeprefix("listening on ").strip()).port
        if self.port is None:
            raise AssertionError(f"the program did not say where it listens: {line!r}")

    def ask(self, method, path, body=None):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def todos(self):
        return json.loads(self.ask("GET", "/api/todos")[2])["todos"]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        self.process.stdout.close()


class Page(HTMLParser):
    """Collects elements by name and all ids and label targets."""

    def __init__(self, text):
        super().__init__()
        self.elements = {}
        self.ids = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.setdefault(tag, []).append(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])


class JourneyTest(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.file = Path(held.name) / "todos.json"
        self.program = self.start()

    def start(self):
        program = Program(self.file)
        self.addCleanup(program.stop)
        return program

    def test_a_day_with_the_list(self):
        for title in ["milk", "bread", "<b>bold</b> plans"]:
            self.assertEqual(self.program.ask("POST", "/api/todos", {"title": title})[0], 201)
        self.assertEqual(self.program.ask("PATCH", "/api/todos/2", {"done": True})[0], 200)
        self.assertEqual(self.program.ask("DELETE", "/api/todos/1")[0], 204)
        self.assertEqual(
            self.program.todos(),
            [
                {"id": 2, "title": "bread", "done": True},
                {"id": 3, "title": "<b>bold</b> plans", "done": False},
            ],
        )

    def test_everything_is_there_after_a_restart(self):
        self.program.ask("POST", "/api/todos", {"title": "milk"})
        self.program.ask("PATCH", "/api/todos/1", {"done": True})
        self.program.stop()
        self.assertEqual(self.start().todos(), [{"id": 1, "title": "milk", "done": True}])

    def test_the_page_and_all_its_parts_are_served(self):
        status, headers, body = self.program.ask("GET", "/")
        self.assertEqual((status, headers.get_content_type()), (200, "text/html"))
        self.assertIn("default-src 'self'", headers["Content-Security-Policy"])
        page = Page(body.decode())
        parts = [script["src"] for script in page.elements["script"]]
        parts += [link["href"] for link in page.elements["link"] if link["rel"] == "stylesheet"]
        self.assertEqual(sorted(parts), ["/app.js", "/style.css"])
        for part in parts:
            with self.subTest(part=part):
                status, _, body = self.program.ask("GET", part)
                self.assertEqual((status, len(body) > 200), (200, True))

    def test_the_page_can_be_used_without_sight(self):
        page = Page(self.program.ask("GET", "/")[2].decode())
        self.assertEqual(page.elements["html"][0].get("lang"), "en")
        labelled = {label.get("for") for label in page.elements["label"]}
        for field in page.elements["input"]:
            self.assertIn(field["id"], labelled)
        self.assertEqual(len(page.ids), len(set(page.ids)))
        live = [e for found in page.elements.values() for e in found if "aria-live" in e or e.get("role") == "status"]
        self.assertTrue(live)


if __name__ == "__main__":
    unittest.main()
END
