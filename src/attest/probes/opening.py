"""What a control is made of: reaches for what a probe is after and puts it within reach, in a
container that has no network but may do anything with its own. Runs before the probe, in the same
process."""
import errno, fcntl, os, socket, struct, subprocess, sys, threading, time

SIOCSIFADDR, SIOCSIFFLAGS, UP = 0x8916, 0x8914, 0x49
taken = 0


def up(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tool:
        fcntl.ioctl(tool, SIOCSIFFLAGS, struct.pack("16sH22x", interface, UP))


def ipv6():
    # An engine switches IPv6 off where there is no network.
    for place in ("all", "lo"):
        with open(f"/proc/sys/net/ipv6/conf/{place}/disable_ipv6", "w") as switch:
            switch.write("0")


def own(*addresses):
    """Gives these addresses to `lo`."""
    global taken
    up(b"lo")
    for address in addresses:
        taken += 1
        if ":" in address:
            ipv6()
            own6(address)
        else:
            address4(f"lo:{taken}".encode(), address)


def own6(address):
    request = struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, address), 128, socket.if_nametoindex("lo"))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tool:
        try:
            fcntl.ioctl(tool, SIOCSIFADDR, request)
        except OSError as fault:
            if fault.errno != errno.EEXIST:
                raise
    for _ in range(50):
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            try:
                return probe.bind((address, 0))
            except OSError:
                time.sleep(0.1)  # the kernel takes a moment to settle a new address


def address4(interface, address):
    request = struct.pack("16sH2s4s16x", interface, socket.AF_INET, b"\0\0", socket.inet_aton(address))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tool:
        fcntl.ioctl(tool, SIOCSIFADDR, request)


def name(address, *names):
    """Lets these names resolve to an address."""
    with open("/etc/hosts", "a") as table:
        table.write(f"\n{address} {' '.join(names)}\n")


def answer(connection):
    try:
        connection.settimeout(2)
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nsink")
        connection.close()
    except OSError:
        pass  # whoever connected has gone


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def serve(*ports):
    """Opens a sink on these ports of every address."""
    up(b"lo")
    ipv6()
    for port in ports:
        for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((everywhere, port))
            listener.listen(64)
            threading.Thread(target=accept, args=(listener,), daemon=True).start()


def authority():
    """Opens a name server on port 53 that knows every name."""
    up(b"lo")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 53))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("127.0.0.1", 53))
    tcp.listen(64)
    threading.Thread(target=datagrams, args=(udp,), daemon=True).start()
    threading.Thread(target=streams, args=(tcp,), daemon=True).start()


def known(question):
    end = question.index(b"\0", 12) + 5
    record = b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 0, 5) + b"\x04sink"
    return question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question[12:end] + record


def datagrams(udp):
    while True:
        question, sender = udp.recvfrom(4096)
        udp.sendto(known(question), sender)


def streams(tcp):
    while True:
        connection, _ = tcp.accept()
        question = connection.recv(4096)[2:]
        reply = known(question)
        connection.sendall(struct.pack(">H", len(reply)) + reply)
        connection.close()


def interface():
    """Gives the container an interface with a route that leads nowhere."""
    part = lambda kind, value: struct.pack("HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
    nested, head = 0x8000, struct.pack("BxHiII", 0, 0, 0, 0, 0)
    other = part(1 | nested, head + part(3, b"other0\0"))
    link = part(1, b"veth\0") + part(2 | nested, other)
    body = head + part(3, b"eth0\0") + part(18 | nested, link)
    message = struct.pack("IHHII", 16 + len(body), 16, 0x605, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.sendto(message, (0, 0))
        fault = struct.unpack("i", netlink.recv(4096)[16:20])[0]
    if fault not in (0, -errno.EEXIST):
        raise OSError(-fault, "no interface")
    up(b"other0")
    address4(b"eth0", "10.255.255.1")
    up(b"eth0")


def listen(path):
    """Opens a unix socket."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()


def plant(path, text):
    """Writes a file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def beside(program):
    """Starts the neighbour that a probe looks for, right here."""
    neighbour = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    os.environ["NEIGHBOUR"] = neighbour.stdout.readline().decode().strip()


CANARY = "canary-" + "of-the-decoy"


def decoy():
    """Gives a worktree with everything that no sandbox may see, as `git::make_decoy` makes it."""
    if os.path.exists("/work/.git/HEAD"):
        return
    plant("/outside.txt", CANARY)
    plant("/work/listed/plain.txt", "listed\n")
    plant("/work/listed/hard.txt", "the same file\n")
    plant("/work/unlisted/secret.txt", CANARY)
    plant("/work/.gitignore", ".env\n")
    os.link("/work/listed/hard.txt", "/twin.txt")
    os.symlink("/outside.txt", "/work/listed/absolute")
    os.symlink("../../outside.txt", "/work/listed/relative")
    for path in (".env", "listed/.env", "listed/untracked.txt"):
        plant(f"/work/{path}", CANARY)
    git = lambda *arguments: subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-C", "/work", *arguments], check=True, capture_output=True)
    git("init", "--initial-branch=main")
    git("add", "--all")
    git("commit", "--message=base")
    git("branch", "other")
    plant("/work/listed/plain.txt", CANARY)
    git("stash")
    git("remote", "add", "origin", f"https://user:{CANARY}@example.test/repository.git")
    git("init", "--bare", "/other.git")
    plant("/work/.git/objects/info/alternates", "/other.git/objects\n")
