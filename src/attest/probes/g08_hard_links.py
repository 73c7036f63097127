"""G8: files of the worktree that have a name elsewhere, too: whoever writes them writes those."""
import os, stat

for top, folders, files in os.walk("/work"):
    folders[:] = [name for name in folders if name != ".git"]
    for path in (os.path.join(top, name) for name in files):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            print("REACHED", path)
print("LOOKED", "at", os.path.exists("/work/listed/hard.txt"))
