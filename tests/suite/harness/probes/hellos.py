"""N13, N14, N31: what a program can begin a connection to an allowed TLS name with."""
import os, socket, struct, sys, time

PLACE = ("allowed.test", 443)


def extension(kind, body):
    return struct.pack(">HH", kind, len(body)) + body


def hello(name, more=b""):
    extensions = more
    if name is not None:
        listed = b"\0" + struct.pack(">H", len(name)) + name
        extensions += extension(0, struct.pack(">H", len(listed)) + listed)
    body = b"\3\3" + os.urandom(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += struct.pack(">H", len(extensions)) + extensions
    return b"\1" + struct.pack(">I", len(body))[1:] + body


def records(message, size=16384):
    cut = [message[at:at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + struct.pack(">H", len(part)) + part for part in cut)


def say(what, pieces, place=PLACE, pause=0):
    answer = b""
    try:
        with socket.create_connection(place, timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(4096):
                answer += more
    except OSError as fault:
        print("CLOSED", what, fault, flush=True)
        return
    print("REACHED" if b"sink" in answer else "CLOSED", what, answer[:7].hex(), flush=True)


good = records(hello(b"allowed.test"))
say("good whole", [good])
say("good by single bytes", [good[at:at + 1] for at in range(len(good))])
say("good in records of 8 bytes", [records(hello(b"allowed.test"), 8)])
say("good with the keys of newer key exchanges", [records(hello(b"allowed.test", extension(51, b"\0" * 1200)))])
say("bad without a name", [records(hello(None))])
say("bad with another name", [records(hello(b"denied.test"))])
say("bad with a name below", [records(hello(b"x.allowed.test"))])
say("bad with a NUL", [records(hello(b"allowed.test\0.denied.test"))])
say("bad encrypted", [records(hello(b"allowed.test", extension(0xFE0D, b"\0" * 40)))])
say("bad too long", [records(b"\1\1\x11\x70" + b"\0" * 70000)])
say("bad too slow", [good[:20], b""], pause=6)
say("bad cut off", [good[:40]])
say("bad other bytes", [b"SSH-2.0-OpenSSH_9.9\r\n"])
say("bad plain HTTP", [b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n"])
for address in ("198.51.100.1", "127.0.0.1"):
    say(f"bad right name elsewhere {address}", [good], (address, 443))
say("bad right name at a sink", [good], ("127.0.0.1", int(sys.argv[1])))
print("TRIED", flush=True)
