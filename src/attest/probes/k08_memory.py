"""K8: twice the memory of the cap, which is 96 MiB, a quarter of it in files that live in memory
where `/dev/shm` does. What is swapped out counts as well: it is there."""
import os

print("STARTED", flush=True)
kept = []
for n in range(48):
    # One file for each MiB: a large one is stopped by another cap.
    kept.append(os.open(f"/dev/shm/{n}", os.O_CREAT | os.O_WRONLY))
    os.unlink(f"/dev/shm/{n}")
    os.write(kept[-1], bytes(1 << 20))
for _ in range(144):
    kept.append(bytearray(b"x") * (1 << 20))
print("REACHED", len(kept), "MiB", flush=True)
