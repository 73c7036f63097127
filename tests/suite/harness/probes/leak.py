"""N37: much in little pieces."""
import socket, sys

passed = 0
for _ in range(200):
    try:
        with socket.create_connection(("allowed.test", 80), timeout=10) as connection:
            connection.sendall(b"GET /" + b"x" * 4096 + b" HTTP/1.1\r\nHost: allowed.test\r\nConnection: close\r\n\r\n")
            answer = b""
            while more := connection.recv(4096):
                answer += more
            passed += b"sink" in answer
    except OSError:
        pass
    print("PASSED", passed, flush=True)
