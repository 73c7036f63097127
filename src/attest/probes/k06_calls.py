"""K6: system calls that agents never need. EPERM, EACCES and ENOSYS are refusals; anything else
means that the kernel looked at the arguments."""
import ctypes, errno, os, platform, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NEWUSER, NEWNS, NEWNET = 0x10000000, 0x00020000, 0x40000000
SIGCHLD = 17
# One byte of PID 1, at an address that need not be there: rights are looked at first.
kept = ctypes.create_string_buffer(8)
here = (ctypes.c_size_t * 2)(ctypes.addressof(kept), 1)
there = (ctypes.c_size_t * 2)(0x400000, 1)
one_byte = (1, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0)
# Numbers on x86_64 and aarch64, none where a machine lacks the call, then arguments. All are such that
# nothing happens where they are looked at. A kernel without a call answers as a refusal does.
CALLS = {
    "unshare-user": (272, 97, NEWUSER),
    "unshare-net": (272, 97, NEWNET),
    "clone-user": (56, 220, NEWUSER | SIGCHLD, 0, 0, 0, 0),
    "clone3": (435, 435, 0, 0),
    "setns": (308, 268, -1, 0),
    "mount": (165, 40, 0, 0, 0, 0, 0),
    "umount2": (166, 39, 0, 0),
    "pivot_root": (155, 41, 0, 0),
    "open_tree": (428, 428, -1, 0, 0),
    "fsopen": (430, 430, 0, 0),
    "bpf": (321, 280, 0, 0, 0),
    "perf_event_open": (298, 241, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 282, 0),
    "keyctl": (250, 219, 0, 0, 0, 0, 0),
    "add_key": (248, 217, 0, 0, 0, 0, 0),
    "request_key": (249, 218, 0, 0, 0, 0),
    "io_uring_setup": (425, 425, 1, 0),
    "open_by_handle_at": (304, 265, -1, 0, 0),
    "quotactl": (179, 60, 0, 0, 0, 0),
    "ptrace-attach-init": (101, 117, 0x4206, 1, 0, 0),
    "process_vm_readv-init": (310, 270, *one_byte),
    "process_vm_writev-init": (311, 271, *one_byte),
    "move_mount": (429, 429, -1, 0, -1, 0, 0),
    "fsconfig": (431, 431, -1, 0, 0, 0, 0),
    "fsmount": (432, 432, -1, 0, 0),
    "fspick": (433, 433, -1, 0, 0),
    "mount_setattr": (442, 442, -1, 0, 0, 0, 0),
    "statmount": (457, 457, 0, 0, 0, 0),
    "listmount": (458, 458, 0, 0, 0, 0),
    "open_tree_attr": (467, 467, -1, 0, 0, 0, 0),
    "name_to_handle_at": (303, 264, -1, 0, 0, 0, 0),
    "fanotify_init": (300, 262, -1, 0),
    "lookup_dcookie": (212, 18, 0, 0, 0),
    "swapon": (167, 224, 0, 0),
    "reboot": (169, 142, 0, 0, 0, 0),
    "acct": (163, 89, 1),
    "quotactl_fd": (443, 443, -1, 0, 0, 0),
    "kexec_file_load": (320, 294, -1, -1, 0, 0, 0),
    "io_uring_enter": (426, 426, -1, 0, 0, 0, 0, 0),
    "io_uring_register": (427, 427, -1, 0, 0, 0),
    "x32-getpid": (0x40000000 | 39, None),
    "personality-executable": (135, 92, 0x0400000),
}
COLUMN = ("x86_64", "aarch64").index(platform.machine())
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


for name, numbers in CALLS.items():
    number, arguments = numbers[COLUMN], numbers[2:]
    if number is None:
        continue
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
