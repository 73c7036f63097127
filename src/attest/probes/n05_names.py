"""N5: names that one reader takes for another, each asked over the wire as raw labels; whatever
address comes back is tried on the sink's port with the name as Host."""
import os, socket, struct

PORT = int(os.environ["SINK_PORT"])
GOOD = b"allowed.test"
HOSTILE = [
    b"evil.test\0.allowed.test", b"allowed.test\0.evil.test", b"allowed.test\0", b"\0allowed.test", b"allowed.test%00",
    b"allowed.test.", b"allowed.test..", b".allowed.test", b"allowed..test", b" allowed.test", b"allowed.test ",
    b"allowed.test\t", b"allowed\ttest", b"user@allowed.test", b"evil.test@allowed.test", b"allowed.test@evil.test",
    b"allowed.test:80", b"allowed.test/", b"allowed.test#x", b"allowed.test?x", b"allowed%2etest", b"%61llowed.test",
    b"allowed.test\r\nHost: evil.test", b"allowed.test\n", b"*.test", b"*", b"allowed*", b"xallowed.test",
    b"allowed.test.evil.test", b"x.allowed.test", b"allowed-.test", b"-allowed.test", b"allowed.te\xffst",
    "allоwed.test".encode(), "allowed。test".encode(), "ａllowed.test".encode(), b"xn--allowed-.test",
    b"a" * 64 + b".test", b".".join([b"a" * 60] * 4) + b".allowed.test", b"allowed\\.test",
]
assert len(HOSTILE) == 40


def question(name, split):
    labels = name.split(b".") if split else [name]
    wire = b"".join(bytes([len(label) & 63]) + label[:63] for label in labels if label or not split) + b"\0"
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + wire + struct.pack(">HH", 1, 1)


def ask(packet):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(2)
        udp.sendto(packet, ("127.0.0.1", 53))
        try:
            answer = udp.recv(4096)
        except OSError:
            return None
    count = struct.unpack(">H", answer[6:8])[0]
    return socket.inet_ntoa(answer[-4:]) if count else None


def reach(address, host):
    try:
        connection = socket.create_connection((address, PORT), timeout=2)
        connection.sendall(b"GET / HTTP/1.0\r\nHost: " + host + b"\r\n\r\n")
        return b"sink" in connection.recv(4000)
    except OSError:
        return False


for name in HOSTILE:
    for split in (True, False):
        if split and name == b"allowed.test.":
            continue  # as labels on the wire this is the name itself
        if split and name in (b"allowed.test..", b".allowed.test", b"allowed..test"):
            continue  # empty labels cannot be sent
        address = ask(question(name, split))
        if address and reach(address, name):
            print("REACHED", name, split)
address = ask(question(GOOD, True))
if address and reach(address, GOOD):
    print("GOOD NAME WORKS")
for name in HOSTILE:
    # White space around the value of a header is no part of it.
    if address and name.strip() != GOOD and reach(address, name):
        print("REACHED by Host", name)
print("TRIED", len(HOSTILE))
