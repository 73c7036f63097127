"""N4: a relay inside the sandbox, asked in the place of the gateway."""
import socket, threading


def relay(listener):
    while True:
        client, _ = listener.accept()
        host, port = client.recv(4096).split()[1].decode().rsplit(":", 1)
        try:
            server = socket.create_connection((host, int(port)), timeout=3)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            server.sendall(client.recv(4096))
            client.sendall(server.recv(4096))
            server.close()
        except OSError as fault:
            client.sendall(str(fault).encode())
        client.close()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=relay, args=(listener,), daemon=True).start()
TARGETS = ("denied.test:80", "denied.test:443", "198.51.100.1:80")
for target in TARGETS:
    with socket.create_connection(listener.getsockname(), timeout=5) as client:
        client.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        opened = client.recv(4096)
        answer = b""
        if b" 200 " in opened:
            client.sendall(b"GET / HTTP/1.0\r\nHost: denied.test\r\n\r\n")
            try:
                answer = client.recv(4096)
            except OSError:
                pass
    print("REACHED" if b"sink" in answer else "CLOSED", target, (answer or opened).split(b"\r\n")[0].decode())
print("TRIED", len(TARGETS))
