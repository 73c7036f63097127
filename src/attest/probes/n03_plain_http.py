"""N3: plain HTTP to a host that no rule names, in every form that servers read."""
import socket

FORMS = {
    "GET": b"GET / HTTP/1.1\r\nHost: denied.test\r\nConnection: close\r\n\r\n",
    "POST": b"POST / HTTP/1.1\r\nHost: denied.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nleak",
    "absolute": b"GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\nConnection: close\r\n\r\n",
    "without a host": b"GET / HTTP/1.0\r\n\r\n",
    "CONNECT": b"CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n\r\n",
    "upgrade": b"GET / HTTP/1.1\r\nHost: denied.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}
for form, request in FORMS.items():
    try:
        with socket.create_connection(("denied.test", 80), timeout=3) as connection:
            connection.sendall(request)
            answer = connection.recv(4096)
        print("REACHED" if b"sink" in answer else "CLOSED", form, answer.split(b"\r\n")[0].decode())
    except OSError as fault:
        print("CLOSED", form, fault)
print("TRIED", len(FORMS))
