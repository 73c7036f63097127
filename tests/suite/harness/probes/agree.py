"""Tries to write to every path that stands on standard input, one a line, and says what came of it:
adding to a file that is there, making one beside it, and running one."""
import os, subprocess, sys

for path in sys.stdin.read().splitlines():
    said = []
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        said.append("w")
    except PermissionError:
        said.append("-")
    try:
        made = f"{path}.made"
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(made)
        said.append("c")
    except PermissionError:
        said.append("-")
    try:
        subprocess.run([path], check=True)
        said.append("x")
    except PermissionError:
        said.append("-")
    try:
        with open(path, "rb") as file:
            file.read(1)
        said.append("r")
    except PermissionError:
        said.append("-")
    print("".join(said), path)
