"""N24, the one who is looked for: another agent's program that listens wherever it can and says
where, until its input ends."""
import socket, subprocess, sys, uuid

port = socket.create_server(("0.0.0.0", 0))
port.listen(8)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", port.getsockname()[1]))
hidden = f"neighbour-{uuid.uuid4()}"
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\0" + hidden)
abstract.listen(8)
path = f"/tmp/{hidden}"
named = socket.socket(socket.AF_UNIX)
named.bind(path)
named.listen(8)
addresses = {"127.0.0.1"}
for line in open("/proc/net/fib_trie"):
    word = line.split()[-1]
    if word.count(".") == 3 and "/" not in word:
        addresses.add(word)
print(port.getsockname()[1], hidden, ",".join(sorted(addresses)), flush=True)
sys.stdin.read()
