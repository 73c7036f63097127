"""N1: a program that ignores proxy settings connects straight to an address elsewhere."""
import errno, socket, time

begun = time.monotonic()
try:
    socket.create_connection(("198.51.100.1", 443), timeout=5)
    print("REACHED 198.51.100.1:443")
except OSError as fault:
    quick = time.monotonic() - begun < 1
    known = fault.errno in (errno.ECONNREFUSED, errno.ENETUNREACH)
    print("CLOSED" if quick and known else f"UNEXPECTED {fault} after {time.monotonic() - begun:.1f} s")
