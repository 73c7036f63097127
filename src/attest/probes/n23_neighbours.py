"""N23: what of the host and its networks can be reached: routes, interfaces, listening ports. The
name server on 53 is the gateway's, the one thing that answers."""
import os, socket

routes = open("/proc/net/route").read().splitlines()[1:]
interfaces = sorted(line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line)
for route in routes:
    print("REACHED route", route.split()[0], route.split()[1])
for name in interfaces:
    if name != "lo":
        print("REACHED interface", name)
for name in ("host.docker.internal", "host.containers.internal", "gateway.docker.internal"):
    try:
        connection = socket.create_connection((name, int(os.environ["SINK_PORT"])), timeout=2)
        print("REACHED", name)
    except OSError:
        print("CLOSED", name)
scanned = 0
probe = socket.socket()
for port in range(1, 65536):
    # A socket that the kernel gave this very port as its own end connects to itself.
    if probe.connect_ex(("127.0.0.1", port)) == 0:
        if probe.getsockname() != probe.getpeername() and port != 53:
            print("REACHED port", port)
        probe.close()
        probe = socket.socket()
    scanned += 1
print("SCANNED", scanned)
