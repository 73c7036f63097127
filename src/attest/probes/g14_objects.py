"""G14: other branches, stashes, reflogs, remotes and whatever else the repository here holds beyond
the files that are given."""
import os, subprocess

CANARY = b"canary-" + b"of-the-decoy"


def git(*arguments):
    ran = subprocess.run(["git", "-c", "safe.directory=*", "-C", "/work", *arguments], capture_output=True)
    if ran.returncode:
        raise SystemExit(f"git {arguments}: {ran.stderr}")
    return ran.stdout


own = git("symbolic-ref", "HEAD").decode().strip()
for name in git("for-each-ref", "--format=%(refname)").decode().split():
    if name != own:
        print("REACHED", name)
for top, _, files in os.walk("/work/.git"):
    for path in (os.path.join(top, name) for name in files):
        if CANARY in open(path, "rb").read():
            print("REACHED", path)
for line in git("remote").decode().split():
    print("REACHED remote", line)
listed = 0
for line in git("cat-file", "--batch-all-objects", "--batch-check").decode().splitlines():
    name, kind, _ = line.split()
    listed += 1
    if CANARY in git("cat-file", kind, name):
        print("REACHED object of kind", kind)
print("LISTED", "objects" if listed else "none")
