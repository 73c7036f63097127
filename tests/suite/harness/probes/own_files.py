"""What an agent can see or change of Loki's own: its policies, its journal and what it put inside."""
import os, socket


def tried(name, action):
    try:
        action()
        print("REACHED", name)
    except OSError as fault:
        print("CLOSED", name, fault)


def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def connect(path):
    socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(path)


for path in ("/etc/passwd", "/etc/group", "/etc/resolv.conf", "/etc/hosts", "/loki/guest", "/usr/bin/true"):
    tried(f"write {path}", lambda: write(path))
    tried(f"remove {path}", lambda: os.rename(path, path + ".old"))
    if "CONTROL" in os.environ and os.path.exists(path + ".old"):
        os.rename(path + ".old", path)
for path in ("/etc/loki", "/loki/new", "/work/.loki/policies", "/work/.git/../.loki"):
    tried(f"make {path}", lambda: os.makedirs(path))
for path in ("/work/.loki", "/etc/loki", "/loki/link", "/loki/guest", "/root", "/home/agent/.config/loki"):
    tried(f"see {path}", lambda: os.listdir(path) if os.path.isdir(path) else open(path, "rb").close())
tried("connect", lambda: connect("/loki/link/socket"))
print("LOOKED")
