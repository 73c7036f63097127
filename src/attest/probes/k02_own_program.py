"""K2: the program that a process runs from, written over once nobody runs it: the way from a
container to the runtime's own program, and from an agent to its first process. Nothing is written
here; a descriptor that could is enough."""
import os, subprocess

for path in ("/proc/1/exe", "/proc/1/root/proc/1/exe"):
    try:
        os.close(os.open(path, os.O_RDONLY))
        print("REACHED", path)
    except OSError as fault:
        print("CLOSED", path, fault)
for path in ("/loki/guest", os.path.realpath("/proc/self/exe"), "/bin/sh", "/lib64/ld-linux-x86-64.so.2"):
    for flags in (os.O_WRONLY, os.O_RDWR):
        try:
            os.close(os.open(path, flags))
            print("REACHED write", path)
        except OSError as fault:
            print("CLOSED", path, fault)
# A descriptor of a running program, kept until it has ended, opened again for writing.
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
try:
    kept = os.open(f"/proc/{child.pid}/exe", os.O_RDONLY)
    child.communicate()
    os.close(os.open(f"/proc/self/fd/{kept}", os.O_WRONLY))
    print("REACHED ended program")
except OSError as fault:
    print("CLOSED ended program", fault)
print("TRIED")
