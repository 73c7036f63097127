#!/bin/sh
# Attempt 1 at `store`.
set -eu
export PYTHONDONTWRITEBYTECODE=1
mkdir -p src/todo tests

# A program that phones home, as dependencies do. No rule allows it: the gateway has to refuse, and to
# say why in JSON. Anything else is a hole, and the attempt fails.
answer=$(mktemp)
status=$(curl -sS --max-time 20 -o "$answer" -w '%{http_code}' http://telemetry.example/)
printf 'telemetry.example answered %s: ' "$status"
cat "$answer"
echo
python3 - "$status" "$answer" <<'END'
import json, sys

status, answer = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
if status != "403" or not isinstance(answer, dict) or not answer:
    sys.exit("telemetry.example was not refused with a reason")
END
rm -f "$answer"

cat > src/todo/__init__.py <<'END'
"""A small todo list: a store, an HTTP interface and a web page."""
END

cat > src/todo/store.py <<'END'
"""Keeps todos in one JSON file."""

import json
import os
import tempfile
import threading
from pathlib import Path

TITLE_MAX = 200


class StoreError(Exception):
    """The file holds something that this program did not write."""


class Store:
    """The todos of one file. Every change is on disk before the call returns."""

    def __init__(self, path):
        self._path = Path(path)
        self._lock = threading.Lock()
        self._next_id, self._todos = self._load()

    def list(self):
        """Returns copies of all todos, oldest first."""
        with self._lock:
            return [dict(todo) for todo in self._todos]

    def add(self, title):
        """Adds a todo and returns it. Raises ValueError when the title is unfit."""
        title = checked(title)
        with self._lock:
            todo = {"id": self._next_id, "title": title, "done": False}
            self._save(self._next_id + 1, self._todos + [todo])
            return dict(todo)

    def set_done(self, todo_id, done):
        """Marks a todo as done or open and returns it. Raises KeyError for an unknown one."""
        if not isinstance(done, bool):
            raise ValueError("done is true or false")
        return self._change(todo_id, {"done": done})

    def rename(self, todo_id, title):
        """Gives a todo another title and returns it. Raises KeyError for an unknown one."""
        return self._change(todo_id, {"title": checked(title)})

    def remove(self, todo_id):
        """Removes a todo. Raises KeyError for an unknown one."""
        with self._lock:
            self._find(todo_id)
            self._save(self._next_id, [todo for todo in self._todos if todo["id"] != todo_id])

    def clear_done(self):
        """Removes all todos that are done and returns how many there were."""
        with self._lock:
            left = [todo for todo in self._todos if not todo["done"]]
            cleared = len(self._todos) - len(left)
            self._save(self._next_id, left)
            return cleared

    def _change(self, todo_id, change):
        with self._lock:
            changed = {**self._find(todo_id), **change}
            self._save(self._next_id, [changed if todo["id"] == todo_id else todo for todo in self._todos])
            return dict(changed)

    def _find(self, todo_id):
        for todo in self._todos:
            if todo["id"] == todo_id:
                return todo
        raise KeyError(todo_id)

    def _load(self):
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
            todos = [{"id": int(t["id"]), "title": str(t["title"]), "done": bool(t["done"])} for t in held["todos"]]
            return int(held["next_id"]), todos
        except FileNotFoundError:
            return 1, []
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self._path} is not a todo file; move it away to start afresh") from error

    def _save(self, next_id, todos):
        """Replaces the file in one step, so that a crash leaves the old one or the new one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".todos-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"next_id": next_id, "todos": todos}, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise
        self._next_id, self._todos = next_id, todos


def checked(title):
    """Returns a title on one line without blanks around it, or raises ValueError."""
    if not isinstance(title, str):
        raise ValueError("a title is a text")
    title = " ".join(title.split())
    if not title:
        raise ValueError("a title is not empty")
    if len(title) > TITLE_MAX:
        raise ValueError(f"a title has at most {TITLE_MAX} characters")
    return title
END

cat > tests/__init__.py <<'END'
"""The tests; run them from the root with `python3 -m unittest discover -s tests -v`."""
END

cat > tests/test_store.py <<'END'
"""The store on its own."""

import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from todo.store import Store, StoreError  # noqa: E402


class StoreTest(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.path = Path(held.name) / "deep" / "todos.json"
        self.store = Store(self.path)

    def test_a_new_store_is_empty(self):
        self.assertEqual(self.store.list(), [])
        self.assertFalse(self.path.exists())

    def test_what_is_added_is_listed_in_order(self):
        self.store.add("  milk ")
        self.store.add("bread")
        self.assertEqual(
            self.store.list(),
            [{"id": 1, "title": "milk", "done": False}, {"id": 2, "title": "bread", "done": False}],
        )

    def test_done_survives_a_restart(self):
        todo = self.store.add("milk")
        self.store.set_done(todo["id"], True)
        self.assertEqual(Store(self.path).list(), [{"id": 1, "title": "milk", "done": True}])

    def test_an_id_is_never_given_twice(self):
        first = self.store.add("milk")
        self.store.remove(first["id"])
        self.assertEqual(Store(self.path).add("bread")["id"], first["id"] + 1)

    def test_unfit_titles_are_refused(self):
        for title in ["", "  \n", "x" * 201, None, 7]:
            with self.subTest(title=title), self.assertRaises(ValueError):
                self.store.add(title)
        self.assertEqual(self.store.list(), [])

    def test_an_unknown_todo_is_an_error(self):
        for call in [lambda: self.store.set_done(9, True), lambda: self.store.remove(9)]:
            with self.assertRaises(KeyError):
                call()

    def test_clearing_removes_only_what_is_done(self):
        done = self.store.add("milk")
        kept = self.store.add("bread")
        self.store.set_done(done["id"], True)
        self.assertEqual(self.store.clear_done(), 1)
        self.assertEqual([todo["id"] for todo in self.store.list()], [kept["id"]])

    def test_a_foreign_file_is_left_alone(self):
        self.path.parent.mkdir()
        self.path.write_text("[1, 2", encoding="utf-8")
        with self.assertRaises(StoreError):
            Store(self.path)
        self.assertEqual(self.path.read_text(encoding="utf-8"), "[1, 2")

    def test_parallel_additions_all_arrive(self):
        threads = [threading.Thread(target=self.store.add, args=(f"todo {n}",)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([todo["id"] for todo in Store(self.path).list()], list(range(1, 21)))


if __name__ == "__main__":
    unittest.main()
END
