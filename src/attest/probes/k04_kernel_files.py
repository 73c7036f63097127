"""K4: files of the kernel that concern the whole machine, which a runtime hides or makes read-only.
Opened, not used."""
import os

READ = ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug"]
WRITE = [
    "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/domainname", "/proc/sys/vm/drop_caches",
    "/proc/sys/kernel/modprobe", "/proc/1/attr/exec", "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent", "/proc/acpi", "/proc/scsi",
]
DEVICES = ["/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/console", "/dev/sda", "/dev/vda", "/dev/loop0", "/dev/fuse"]
for path in READ:
    try:
        with open(path, "rb", buffering=0) as file:
            # An engine covers what it hides with an empty file.
            print("REACHED read" if os.fstat(file.fileno()).st_rdev == 0 and file.read(1) else "CLOSED", path)
    except OSError as fault:
        print("CLOSED", path, fault)
for path in WRITE + DEVICES:
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("REACHED write", path)
    except OSError as fault:
        print("CLOSED", path, fault)
for folder in ("/sys/firmware", "/proc/acpi", "/proc/scsi"):
    try:
        print("REACHED listing" if os.listdir(folder) else "CLOSED", folder)
    except OSError as fault:
        print("CLOSED", folder, fault)
try:
    os.mknod("/tmp/device", 0o020666, os.makedev(1, 11))
    print("REACHED mknod")
    os.unlink("/tmp/device")
except OSError as fault:
    print("CLOSED mknod", fault)
print("TRIED")
