"""G7: what links of the worktree that lead out of it lead to in here."""
import os

CANARY = b"canary-" + b"of-the-decoy"
links = 0
for top, folders, files in os.walk("/work"):
    folders[:] = [name for name in folders if name != ".git"]
    for path in (os.path.join(top, name) for name in folders + files):
        if not os.path.islink(path):
            continue
        links += 1
        try:
            # A link to a device or a pipe would never end.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                print("REACHED" if CANARY in file.read(1 << 20) else "CLOSED", path)
        except OSError as fault:
            print("CLOSED", path, fault)
print("FOLLOWED", links)
