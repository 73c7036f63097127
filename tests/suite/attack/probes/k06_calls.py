"""K6: system calls that agents never need. EPERM, EACCES and ENOSYS are refusals; anything else
means that the kernel looked at the arguments."""
import ctypes, errno, os, platform, sys

assert platform.machine() == "x86_64", "numbers of x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NEWUSER, NEWNS, NEWNET = 0x10000000, 0x00020000, 0x40000000
SIGCHLD = 17
# One byte of PID 1, at an address that need not be there: rights are looked at first.
kept = ctypes.create_string_buffer(8)
here = (ctypes.c_size_t * 2)(ctypes.addressof(kept), 1)
there = (ctypes.c_size_t * 2)(0x400000, 1)
# Not here: kexec_load, init_module, finit_module, which not every kernel has.
CALLS = {
    "unshare-user": (272, NEWUSER),
    "unshare-net": (272, NEWNET),
    "clone-user": (56, NEWUSER | SIGCHLD, 0, 0, 0, 0),
    "clone3": (435, 0, 0),
    "setns": (308, -1, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "open_tree": (428, -1, 0, 0),
    "fsopen": (430, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "add_key": (248, 0, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0),
    "io_uring_setup": (425, 1, 0),
    "open_by_handle_at": (304, -1, 0, 0),
    "quotactl": (179, 0, 0, 0, 0),
    "ptrace-attach-init": (101, 0x4206, 1, 0, 0),
    "process_vm_readv-init": (310, 1, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0),
    "process_vm_writev-init": (311, 1, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0),
}
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def tried(name, number, arguments):
    """In a child, for a call that works changes who one is."""
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    fault = ctypes.get_errno()
    if name == "clone-user" and result == 0:
        os._exit(0)
    print("CLOSED" if result < 0 and fault in REFUSED else "REACHED", name, result, errno.errorcode.get(fault, fault))
    sys.stdout.flush()
    os._exit(0)


for name, (number, *arguments) in CALLS.items():
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        tried(name, number, arguments)
    os.waitpid(child, 0)
for path in ("/proc/1/mem", "/proc/1/environ", "/proc/1/root/etc/passwd"):
    try:
        os.close(os.open(path, os.O_RDONLY))
        print("REACHED", path)
    except OSError:
        print("CLOSED", path)
try:
    os.kill(1, 9)
    print("REACHED kill init")
except PermissionError:
    print("CLOSED kill init")
# What agents do need still works: a traced child of one's own.
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, 0, 0)
    os.kill(os.getpid(), 19)
    os._exit(0)
_, status = os.waitpid(child, 0)
print("OWN CHILD", "traced" if os.WIFSTOPPED(status) else status)
libc.ptrace(7, child, 0, 0)
os.waitpid(child, 0)
