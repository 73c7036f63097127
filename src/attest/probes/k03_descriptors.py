"""K3: descriptors that something outside left open."""
import os, stat

for number in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        kind = os.fstat(number).st_mode
        place = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        continue  # that of the listing itself
    if number > 2 or stat.S_ISDIR(kind) or place.startswith("socket:"):
        print("REACHED", number, place)
print("IN", os.getcwd())
