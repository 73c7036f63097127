"""S14: policies, journals, keys and certificates' keys of Loki's, within reach; and what could
widen the rights that this program has."""
import os, re

NAMES = re.compile(r"(^journal\.key|\.jsonl|^orchestrator\.lock|^identity\.txt|\.age)$")
MOUNTS = {
    "/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/tmp", "/work", "/work/.git",
    "/home/agent", "/loki/guest", "/loki/link", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/passwd",
    "/etc/group", "/run", "/var/tmp", "/run/.containerenv",
    "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/loki.crt", "/etc/ssl/certs/java/cacerts",
}
WRITABLE = ("/tmp", "/work", "/home/agent", "/dev", "/proc", "/sys")
for line in open("/proc/self/mountinfo"):
    point, options = line.split()[4], line.split()[5].split(",")
    # What an engine hides lies below these.
    known = point in MOUNTS or point.startswith(("/proc/", "/sys/", "/dev/"))
    if not known or "rw" in options and not point.startswith(WRITABLE):
        print("REACHED mount", point, options[0])
for top, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(top, name) not in ("/proc", "/sys", "/dev")]
    for name in files:
        path = os.path.join(top, name)
        loki = "/.loki/" in path or "/loki/policies/" in path or "/.config/loki/" in path
        if loki or NAMES.search(name):
            print("REACHED file", path)
for path in (
    "/etc/passwd", "/etc/resolv.conf", "/etc/hosts", "/loki/guest", "/loki/link/x", "/etc/loki/x", "/usr/bin/x",
    "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/loki.crt",
):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        print("REACHED write", path)
    except OSError as fault:
        print("CLOSED", path, fault)
print("LOOKED")
