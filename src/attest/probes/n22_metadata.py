"""N22: metadata services of cloud providers, by address and by name."""
import socket

for host in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "metadata.google.internal"):
    try:
        connection = socket.create_connection((host, 80), timeout=2)
        connection.sendall(b"GET /latest/meta-data/ HTTP/1.0\r\nHost: x\r\n\r\n")
        answer = connection.recv(4000)
        print("REACHED" if b"sink" in answer else f"CLOSED {answer[:12]!r}", host)
    except OSError as fault:
        print("CLOSED", host, fault)
