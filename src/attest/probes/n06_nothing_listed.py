"""N6: a pinned name with and without a rule, and the sentence that a denied request gets."""
import os, socket


def ask(host, port):
    try:
        connection = socket.create_connection((host, port), timeout=3)
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while more := connection.recv(4096):
            answer += more
        return answer
    except OSError as fault:
        return str(fault).encode()


if b"sink" in ask("allowed.test", int(os.environ["SINK_PORT"])):
    print("REACHED allowed.test")
answer = ask("denied.test", 80)
print("DENIED", answer.split(b"\r\n")[0].decode(), answer.split(b"\r\n")[-1].decode())
