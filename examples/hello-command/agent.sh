#!/bin/sh
# The smallest agent there is: the brief comes on stdin, the work is done in the current directory.
set -eu
task=$(sed -n 's/^# Task `\([a-z0-9-]*\)`.*/\1/p' | head -n 1)
word=Hello; test "$task" != danish || word=Hej
mkdir -p src tests
printf 'def greet(name):\n    return f"%s, {name}!"\n' "$word" > "src/$task.py"
printf 'import sys, unittest\n\nsys.path.insert(0, "src")\nimport %s\n\n\nclass GreetTest(unittest.TestCase):\n    def test_the_name_is_greeted(self):\n        self.assertEqual(%s.greet("Ada"), "%s, Ada!")\n' \
  "$task" "$task" "$word" > "tests/test_$task.py"
