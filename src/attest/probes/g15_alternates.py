"""G15: objects of other repositories that the one here borrows."""
import os, subprocess

for name in ("alternates", "http-alternates"):
    if os.path.exists(f"/work/.git/objects/info/{name}"):
        print("REACHED", name)
if not os.path.isdir("/work/.git") or os.path.islink("/work/.git") or os.path.exists("/work/.git/commondir"):
    print("REACHED another directory of git")
counted = subprocess.run(
    ["git", "-c", "safe.directory=*", "-C", "/work", "count-objects", "--verbose"], capture_output=True, check=True)
for line in counted.stdout.decode().splitlines():
    if line.startswith("alternate:"):
        print("REACHED objects of another repository")
print("COUNTED")
