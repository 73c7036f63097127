"""Positive control: in a container without network but with all rights, makes the addresses of
the probes reachable by giving them to `lo` and listening there."""
import errno, fcntl, socket, struct, sys, threading, time

SIOCSIFADDR, SIOCSIFFLAGS, UP = 0x8916, 0x8914, 0x49


def flags_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tool:
        fcntl.ioctl(tool, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", UP))


def own(index, address):
    if ":" in address:
        # An engine switches IPv6 off where there is no network.
        for place in ("all", "lo"):
            with open(f"/proc/sys/net/ipv6/conf/{place}/disable_ipv6", "w") as switch:
                switch.write("0")
        request = struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, address), 128, socket.if_nametoindex("lo"))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tool:
            fcntl.ioctl(tool, SIOCSIFADDR, request)
        return
    alias = f"lo:{index}".encode()
    request = struct.pack("16sH2s4s16x", alias, socket.AF_INET, b"\0\0", socket.inet_aton(address))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tool:
        fcntl.ioctl(tool, SIOCSIFADDR, request)


def serve(listener):
    while True:
        connection, _ = listener.accept()
        connection.recv(4096) if connection.getsockname()[1] == 80 else None
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nsink")
        connection.close()


def listen(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    for _ in range(30):
        try:
            listener.bind((address, port))
            break
        except OSError as fault:
            # The kernel takes a moment to settle a new IPv6 address.
            if fault.errno != errno.EADDRNOTAVAIL:
                raise
            time.sleep(0.1)
    listener.listen(64)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()


flags_up()
for number, place in enumerate(sys.argv[1].split(",")):
    address, port = place.rsplit(":", 1)
    own(number, address)
    listen(address, int(port))
exec(compile(sys.stdin.read(), "probe", "exec"))
