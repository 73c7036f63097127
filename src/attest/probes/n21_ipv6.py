"""N21: IPv6, where rules were only made for IPv4."""
import os, socket

PORT = int(os.environ["SINK_PORT"])
for line in open("/proc/net/if_inet6") if os.path.exists("/proc/net/if_inet6") else ():
    address, _, _, scope, _, name = line.split()
    if name != "lo" or scope != "10":
        print("REACHED address", address, name)
for line in open("/proc/net/ipv6_route") if os.path.exists("/proc/net/ipv6_route") else ():
    target, length, name = line.split()[0], line.split()[1], line.split()[-1]
    if name != "lo":
        print("REACHED route", target, length, name)
for address in ("2001:db8::1", "fd00:ec2::254", "64:ff9b::c633:6401", "::1"):
    try:
        with socket.create_connection((address, PORT), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            print("REACHED" if b"sink" in connection.recv(4096) else "CLOSED", address)
    except OSError as fault:
        print("CLOSED", address, fault)
print("TRIED")
