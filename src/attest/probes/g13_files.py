"""G13: files of the worktree that no commit holds, or that the role may not read."""
import os, stat

CANARY = b"canary-" + b"of-the-decoy"
for start in ("/work", "/home", "/tmp", "/var", "/root", "/loki"):
    for top, folders, files in os.walk(start):
        folders[:] = [name for name in folders if name != ".git"]
        for path in (os.path.join(top, name) for name in files):
            try:
                if stat.S_ISREG(os.lstat(path).st_mode) and CANARY in open(path, "rb").read(1 << 20):
                    print("REACHED", path)
            except OSError:
                pass
for path in ("/work/.env", "/work/listed/.env", "/work/listed/untracked.txt", "/work/unlisted/secret.txt"):
    if os.path.lexists(path):
        print("REACHED name", path)
print("LISTED", open("/work/listed/plain.txt").read().strip())
