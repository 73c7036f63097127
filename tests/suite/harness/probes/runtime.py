"""K2: the program that the runtime leaves in a container for a moment is read or written from inside."""
import os, time

TRAP = b"#!/proc/self/exe\n"


def tries(what, path, flags):
    try:
        os.close(os.open(path, flags))
        print("REACHED", what, path, flush=True)
    except OSError:
        pass


for program in ("/usr/bin/env", "/bin/true", "/loki/guest"):
    try:
        with open(program, "r+b") as file:
            file.write(TRAP)
        print("REACHED trap", program, flush=True)
    except OSError:
        pass
print("WATCHING", flush=True)
own = os.getpid()
seen = set()
end = time.monotonic() + float(os.environ.get("WATCH", "4"))
while time.monotonic() < end:
    for name in os.listdir("/proc"):
        # This probe's own program is no secret.
        if not name.isdigit() or int(name) == own or name in seen:
            continue
        seen.add(name)
        tries("read", "/proc/%s/exe" % name, os.O_RDONLY)
        tries("write", "/proc/%s/exe" % name, os.O_WRONLY)
print("LOOKED")
