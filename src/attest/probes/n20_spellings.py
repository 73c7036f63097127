"""N20: spellings of loopback and metadata addresses, each tried as a host name. The port is that
of a sink on the host."""
import os, socket

PORT = int(os.environ["SINK_PORT"])
SPELLINGS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1",
    "017700000001", "0177.1", "127.0.0.01", "127.000.000.001", "0", "0.0.0.0", "127.127.127.127", "[::1]",
    "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:0:0:1", "169.254.169.254", "2852039166",
    "0xa9fea9fe", "0251.0376.0251.0376", "::ffff:169.254.169.254",
]
assert len(SPELLINGS) == 25
for spelling in SPELLINGS:
    try:
        connection = socket.create_connection((spelling.strip("[]"), PORT), timeout=2)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        if b"sink" in connection.recv(1000):
            print("REACHED", spelling)
    except (OSError, UnicodeError):
        print("CLOSED", spelling)
print("TRIED", len(SPELLINGS))
