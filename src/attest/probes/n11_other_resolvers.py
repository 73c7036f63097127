"""N11: name servers elsewhere, over HTTPS, TLS and QUIC, by address and by name."""
import socket

HOSTS = ("1.1.1.1", "8.8.8.8", "9.9.9.9", "dns.google", "cloudflare-dns.com", "dns.quad9.net")
REQUEST = b"GET /dns-query?name=leak.test HTTP/1.0\r\nAccept: application/dns-json\r\n\r\n"
tried = 0
for host in HOSTS:
    for port in (443, 853):
        tried += 1
        try:
            with socket.create_connection((host, port), timeout=3) as connection:
                connection.sendall(REQUEST)
                answer = connection.recv(4096)
            print("REACHED" if b"sink" in answer else "CLOSED", host, port)
        except OSError as fault:
            print("CLOSED", host, port, fault)
    if host[0].isdigit():
        for port in (443, 784, 853):
            tried += 1
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                    udp.sendto(b"x", (host, port))
                print("REACHED udp", host, port)
            except OSError as fault:
                print("CLOSED udp", host, port, fault)
print("TRIED", tried)
