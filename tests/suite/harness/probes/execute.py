"""Ways to run, or at least to read, a program of the image that may not run."""
import ctypes, errno, os, platform, subprocess

assert platform.machine() == "x86_64", "numbers of x86_64"
PROGRAM, LOADER = "/usr/bin/dpkg", "/lib64/ld-linux-x86-64.so.2"
# Where own programs may run, for a role that has such a place.
PLACE = "/var/tmp/place" if "CONTROL" in os.environ else "/work/src"
os.makedirs(PLACE, exist_ok=True)
libc = ctypes.CDLL(None, use_errno=True)


def ran(*argv):
    done = subprocess.run([*argv, "--version"], capture_output=True)
    return b"dpkg" in done.stdout.lower() or b"dpkg" in done.stderr.lower() and done.returncode == 0


def bytes_of(path=PROGRAM):
    with open(path, "rb") as file:
        return file.read()


def made(name, contents):
    path = f"{PLACE}/{name}"
    with open(path, "wb") as file:
        file.write(contents)
    os.chmod(path, 0o755)
    return path


def taken(path):
    """Whether the program that a script names is run at all, whatever it then says."""
    done = subprocess.run([path, "--version"], capture_output=True)
    return b"dpkg" in done.stdout + done.stderr and b"Permission denied" not in done.stderr


def in_memory():
    memory = os.memfd_create("copy", 0)
    os.write(memory, bytes_of())
    os.set_inheritable(memory, True)
    done = subprocess.run([f"/proc/self/fd/{memory}", "--version"], close_fds=False, capture_output=True)
    return b"dpkg" in done.stdout.lower()


def by_descriptor():
    seen = os.open(PROGRAM, os.O_PATH)
    child = os.fork()
    if child == 0:
        argv = (ctypes.c_char_p * 3)(b"dpkg", b"--version", None)
        libc.syscall(322, seen, b"", argv, (ctypes.c_char_p * 1)(None), 0x1000)
        os._exit(200 if ctypes.get_errno() in (errno.EACCES, errno.EPERM) else 201)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 200


def as_interpreter():
    """A program of one's own that names the other one as its loader."""
    own = bytes_of("/usr/bin/true")
    begin = own.index(LOADER.encode())
    end = own.index(b"\0", begin)
    path = made("interpreted", own[:begin] + PROGRAM.encode().ljust(end - begin, b"\0") + own[end:])
    try:
        # Whether the kernel takes it: what then runs has not been linked and dies.
        subprocess.run([path], capture_output=True)
        return True
    except PermissionError:
        return False


def linked(make, name):
    path = f"{PLACE}/{name}"
    make(PROGRAM, path)
    return ran(path)


def through(path):
    try:
        return ran(path)
    except OSError:
        bytes_of(path)
        return True


WAYS = {
    "direct": lambda: ran(PROGRAM),
    "loader": lambda: ran(LOADER, PROGRAM),
    "reading": lambda: bool(bytes_of()),
    "copy": lambda: ran(made("copy", bytes_of())),
    "copy in /tmp": lambda: ran(LOADER, subprocess.run(["cp", PROGRAM, "/tmp/copied"], check=True) and "/tmp/copied"),
    "memfd": in_memory,
    "execveat": by_descriptor,
    "reopened descriptor": lambda: bool(bytes_of(f"/proc/self/fd/{os.open(PROGRAM, os.O_PATH)}")),
    "/proc/self/root": lambda: through("/proc/self/root" + PROGRAM),
    "/proc/thread-self/root": lambda: through("/proc/thread-self/root" + PROGRAM),
    "/proc/self/cwd": lambda: through("/proc/self/cwd/" + os.path.relpath(PROGRAM)),
    "hash bang": lambda: taken(made("script", f"#!{PROGRAM}\n".encode())),
    "hash bang of the loader": lambda: taken(made("script2", f"#!{LOADER} {PROGRAM}\n".encode())),
    "interpreter": as_interpreter,
    "symbolic link": lambda: linked(os.symlink, "symlink"),
    "hard link": lambda: linked(os.link, "hardlink"),
    "sh": lambda: b"dpkg" in subprocess.run(["sh", "-c", f"{PROGRAM} --version"], capture_output=True).stdout.lower(),
    "env": lambda: ran("env", PROGRAM),
}
for name, way in WAYS.items():
    try:
        reached, why = way(), ""
    except (OSError, subprocess.CalledProcessError) as fault:
        reached, why = False, fault
    print("REACHED" if reached else "CLOSED", name, why)
# What may run does, in the very same ways: the probe is not merely broken.
own = made("own", b"#!/bin/sh\necho own script\n")
print(subprocess.run([own], capture_output=True, text=True).stdout.strip())
print(subprocess.run([LOADER, "/usr/bin/echo", "by the loader"], capture_output=True, text=True).stdout.strip())
