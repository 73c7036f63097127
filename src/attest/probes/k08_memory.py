"""K8: twice the memory of the cap, which is 96 MiB, a quarter of it in a file that lives in memory
where `/dev/shm` does. What is swapped out counts as well: it is there."""
import os

print("STARTED", flush=True)
file = os.open("/dev/shm/quarter", os.O_CREAT | os.O_WRONLY)
os.unlink("/dev/shm/quarter")
for _ in range(48):
    os.write(file, bytes(1 << 20))
kept = []
for _ in range(144):
    kept.append(bytearray(b"x") * (1 << 20))
print("REACHED", len(kept), "MiB", flush=True)
