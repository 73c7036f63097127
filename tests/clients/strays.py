"""Reads a trace of network calls and prints those that name an address which is not loopback."""
import collections, ipaddress, re, sys

seen, strays = collections.Counter(), set()
for line in open(sys.argv[1], errors="replace"):
    for text in re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line):
        address = ipaddress.ip_address(text[0] or text[1])
        inner = getattr(address, "ipv4_mapped", None) or address
        call = re.sub(r"^\d+\s+", "", line).split("(")[0]
        # Binding to any address opens a door inside; nothing leaves by it.
        if inner.is_loopback or (call.startswith("bind") and inner.is_unspecified):
            seen[call] += 1
        else:
            strays.add(f"{call} {address}")
print("calls", sum(seen.values()), "elsewhere", sorted(strays))
