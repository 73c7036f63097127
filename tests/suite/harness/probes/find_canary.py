"""Every file that can be read, and every object of the repository here, that holds the canary."""
import os, stat, subprocess

# In two parts, so that this program is not what is found.
CANARY = b"canary-5f1d83" + b"c07be94a22"
for folder, folders, names in (step for top in ("/work", "/home", "/tmp", "/etc", "/loki", "/var", "/root") for step in os.walk(top)):
    for name in names:
        path = os.path.join(folder, name)
        try:
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    if CANARY in file.read():
                        print("FOUND", path)
        except OSError:
            pass
git = ["git", "-c", "safe.directory=*", "cat-file"]
listed = subprocess.run([*git, "--batch-all-objects", "--batch-check"], capture_output=True, check=True)
for line in listed.stdout.decode().splitlines():
    name, kind, _ = line.split()
    shown = subprocess.run([*git, kind, name], capture_output=True, check=True)
    if CANARY in shown.stdout:
        print("FOUND object")
print("LOOKED")
