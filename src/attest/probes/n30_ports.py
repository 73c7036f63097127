"""N30: other ports of a host that is allowed on one, by connection and by CONNECT."""
import os, socket

PORT = int(os.environ["SINK_PORT"])
OTHERS = (22, 25, 80, 110, 443, 465, 587, 2375, 3389, 5432, 6443, 8080, 8443, 9418)


def ask(port, request):
    try:
        with socket.create_connection(("allowed.test", port), timeout=3) as connection:
            connection.sendall(request)
            return connection.recv(4096)
    except OSError:
        return b""


for port in OTHERS:
    if b"sink" in ask(port, b"GET / HTTP/1.0\r\nHost: allowed.test\r\n\r\n"):
        print("REACHED", port)
for target in ("allowed.test:22", "allowed.test:0", "allowed.test:65536", "allowed.test", "denied.test:443"):
    if b"sink" in ask(PORT, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()):
        print("REACHED by CONNECT", target)
if b"sink" in ask(PORT, f"GET / HTTP/1.1\r\nHost: allowed.test:{PORT}\r\nConnection: close\r\n\r\n".encode()):
    print("ALLOWED PORT WORKS")
print("TRIED", len(OTHERS))
