"""N33: socket families and types that could carry bytes around the gateway."""
import socket

# Not here: AF_ALG and AF_KEY, which not every kernel has, so that their refusal shows nothing.
AF_VSOCK, AF_PACKET, AF_XDP = 40, 17, 44
TRIED = {
    "packet": (AF_PACKET, socket.SOCK_RAW, 0x0300),
    "packet-datagram": (AF_PACKET, socket.SOCK_DGRAM, 0x0300),
    "raw-icmp": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "raw-tcp": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
    "raw-icmp6": (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    "vsock": (AF_VSOCK, socket.SOCK_STREAM, 0),
    "ping": (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    "sctp": (socket.AF_INET, socket.SOCK_STREAM, 132),
    "mptcp": (socket.AF_INET, socket.SOCK_STREAM, 262),
    "smc": (socket.AF_INET, socket.SOCK_STREAM, 256),
    "netlink-audit": (socket.AF_NETLINK, socket.SOCK_RAW, 9),
    "xdp": (AF_XDP, socket.SOCK_RAW, 0),
}
for name, arguments in TRIED.items():
    try:
        socket.socket(*arguments).close()
        print("REACHED", name)
    except OSError as fault:
        print("CLOSED", name, fault)
# UDP and QUIC, IPv4 and IPv6: sockets exist, but there is no route.
for family, address in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"x", (address, 443))
        print("REACHED udp", address)
    except OSError as fault:
        print("CLOSED udp", fault)
