"""Positive control: in a container without network but with all rights, makes the addresses of
the probes reachable by giving them to `lo` and listening there."""
import fcntl, socket, struct, sys, threading

SIOCSIFADDR, SIOCSIFFLAGS = 0x8916, 0x8914


def own(index, address):
    alias = f"lo:{index}".encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tool:
        request = struct.pack("16sH2s4s8x", alias, socket.AF_INET, b"\0\0", socket.inet_aton(address))
        fcntl.ioctl(tool, SIOCSIFADDR, request)


def serve(address, port):
    listener = socket.create_server((address, port), backlog=64)
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nsink")
        connection.close()


for number, place in enumerate(sys.argv[1].split(",")):
    address, port = place.split(":")
    own(number, address)
    threading.Thread(target=serve, args=(address, int(port)), daemon=True).start()
exec(compile(sys.stdin.read(), "probe", "exec"))
