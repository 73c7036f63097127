"""K4: masked paths, the console, and files of /proc that reach the host's kernel. Opens, never writes."""
import os


def tries(what, deed):
    try:
        deed()
        print("REACHED", what, flush=True)
    except OSError:
        pass


def opens(path, flags):
    def deed():
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
    return deed


def swaps():
    os.rename("/dev/null", "/dev/null.kept")
    os.rename("/dev/null.kept", "/dev/null")


def plants():
    os.symlink("/proc/sys/kernel/core_pattern", "/dev/planted")
    os.unlink("/dev/planted")


for path in (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sysrq-trigger",
    "/proc/1/attr/current",
    "/proc/1/oom_score_adj",
):
    tries("write " + path, opens(path, os.O_WRONLY))
tries("read /proc/kcore", lambda: os.read(os.open("/proc/kcore", os.O_RDONLY), 1)[0])
tries("write /dev/console", opens("/dev/console", os.O_RDWR))
tries("swap /dev/null", swaps)
tries("plant in /dev", plants)
kind = os.stat("/dev/null")
if (os.major(kind.st_rdev), os.minor(kind.st_rdev)) != (1, 3):
    print("REACHED another /dev/null")
print("LOOKED")
