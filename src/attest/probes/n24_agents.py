"""N24: another agent's container, on every address that it has, and by sockets without one."""
import os, socket

port, hidden, addresses = os.environ["NEIGHBOUR"].split()
for address in addresses.split(","):
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((address, int(port))) == 0 and probe.getsockname() != probe.getpeername():
            print("REACHED tcp", address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.05)
        try:
            # A port where nobody listens answers with a refusal.
            probe.connect((address, int(port)))
            probe.send(b"x")
            probe.recv(1)
        except TimeoutError:
            print("REACHED udp", address)
        except OSError as fault:
            print("CLOSED udp", address, fault)
for place in ("\0" + hidden, f"/tmp/{hidden}"):
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(place)
            print("REACHED", "abstract" if place[0] == "\0" else "path")
        except OSError as fault:
            print("CLOSED", place[1:], fault)
for number in (name for name in os.listdir("/proc") if name.isdigit()):
    try:
        if hidden.encode() in open(f"/proc/{number}/net/unix", "rb").read():
            print("REACHED process", number)
            break
    except OSError:
        pass
print("TRIED", len(addresses.split(",")))
