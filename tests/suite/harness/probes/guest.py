"""What an agent can do to PID 1: nothing. EPERM, EACCES and ENOSYS are refusals; anything else
means that the kernel looked further."""
import ctypes, errno, os, platform, time

assert platform.machine() == "x86_64", "numbers of x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
kept = ctypes.create_string_buffer(256)
here = (ctypes.c_size_t * 2)(ctypes.addressof(kept), 1)
there = (ctypes.c_size_t * 2)(0x400000, 1)
limit = (ctypes.c_uint64 * 2)(1024, 1024)
everywhere = (ctypes.c_uint64 * 1)(2**64 - 1)
user, best_effort_last = os.getuid(), 2 << 13 | 7
attributes = (ctypes.c_uint32 * 12)(48, 0)
at = ctypes.addressof
pidfd = libc.syscall(434, 1, 0)
CALLS = {
    "kill 0": (62, 1, 0),
    "kill TERM": (62, 1, 15),
    "kill CHLD": (62, 1, 17),
    "tkill": (200, 1, 17),
    "tgkill": (234, 1, 1, 17),
    "pidfd_send_signal": (424, pidfd, 17, 0, 0),
    "pidfd_getfd": (438, pidfd, 0, 0),
    "ptrace attach": (101, 16, 1, 0, 0),
    "ptrace seize": (101, 0x4206, 1, 0, 0),
    "process_vm_readv": (310, 1, at(here), 1, at(there), 1, 0),
    "process_vm_writev": (311, 1, at(here), 1, at(there), 1, 0),
    "prlimit get": (302, 1, 7, 0, at(kept)),
    "prlimit set": (302, 1, 7, at(limit), 0),
    "sched_setaffinity": (203, 1, 8, at(everywhere)),
    "sched_setscheduler": (144, 1, 0, at(kept)),
    "sched_setparam": (142, 1, at(kept)),
    "sched_setattr": (314, 1, at(attributes), 0),
    "setpriority process": (141, 0, 1, 19),
    "setpriority group": (141, 1, 1, 19),
    "setpriority user": (141, 2, user, 19),
    "ioprio_set process": (251, 1, 1, best_effort_last),
    "ioprio_set group": (251, 2, 1, best_effort_last),
    "ioprio_set user": (251, 3, user, best_effort_last),
    "kcmp": (312, 1, os.getpid(), 1, 0, 0),
    "get_robust_list": (274, 1, at(kept), at(kept) + 8),
    "move_pages": (279, 1, 0, 0, 0, 0, 0),
}
READ = "mem environ maps smaps pagemap auxv syscall io stack personality".split()
WRITTEN = "mem oom_score_adj clear_refs coredump_filter timerslack_ns sched autogroup".split()


def said(name, reached, why=""):
    print("REACHED" if reached else "CLOSED", name, why, flush=True)


if "CONTROL" in os.environ:
    # It would stop the control's PID 1 for good; seizing shows the same right.
    del CALLS["ptrace attach"]
for name, (number, *arguments) in CALLS.items():
    child = os.fork()
    if child == 0:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
        fault = ctypes.get_errno()
        said(name, result >= 0 or fault not in REFUSED, errno.errorcode.get(fault, fault))
        os._exit(0)
    os.waitpid(child, 0)
for name in READ:
    try:
        with open(f"/proc/1/{name}", "rb", 0) as file:
            file.read(0 if name == "mem" else 1)
        said(f"read {name}", True)
    except OSError as fault:
        said(f"read {name}", fault.errno not in (*REFUSED, errno.ENOENT), fault)
for name in WRITTEN:
    try:
        os.close(os.open(f"/proc/1/{name}", os.O_WRONLY))
        said(f"write {name}", True)
    except OSError as fault:
        said(f"write {name}", fault.errno not in (*REFUSED, errno.ENOENT), fault)
for name in "exe root cwd fd/0 ns/net".split():
    try:
        said(f"link {name}", True, os.readlink(f"/proc/1/{name}"))
    except OSError as fault:
        said(f"link {name}", False, fault)
for name in "fd fdinfo map_files root task/1/fd ns".split():
    try:
        said(f"list {name}", True, os.listdir(f"/proc/1/{name}"))
    except OSError as fault:
        said(f"list {name}", False, fault)
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")
    said("spare oneself", True)
except OSError as fault:
    said("spare oneself", False, fault)
scores = [open(f"/proc/{who}/oom_score_adj").read().strip() for who in ("self", "1")]
print("OOM", *scores)


def left_to_pid_1():
    count = 0
    for entry in os.listdir("/proc"):
        try:
            fields = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split() if entry.isdigit() else "XX"
        except OSError:
            continue
        count += fields[0] == "Z" and fields[1] == "1"
    return count


# Orphans that end at once, without end: PID 1 has to reap them and still hear the host. Never more
# than the role may have processes: on a busy machine PID 1 comes late, and the sandbox is ended for it.
for number in range(0 if "CONTROL" in os.environ else 3000):
    while number % 50 == 0 and left_to_pid_1() > 50:
        time.sleep(0.01)
    try:
        child = os.fork()
    except BlockingIOError:
        time.sleep(0.01)
        continue
    if child == 0:
        try:
            os.fork()
        except OSError:
            pass
        os._exit(0)
    os.waitpid(child, 0)
end = time.monotonic() + 20
while left_to_pid_1() and time.monotonic() < end:
    time.sleep(0.02)
print("ORPHANS LEFT", left_to_pid_1())
