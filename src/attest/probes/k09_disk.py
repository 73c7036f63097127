"""K9: more than the quota, which is 16 MiB, into `/tmp` and then into the home directory."""
import errno, os, time

BLOCK = bytes(1 << 20)
HOME = os.path.expanduser("~")


def fill(folder, count):
    """Returns what stopped it, none if nothing did."""
    made = []
    try:
        for n in range(count):
            made.append(f"{folder}/flood{n}")
            with open(made[-1], "wb", buffering=0) as file:
                file.write(BLOCK)
    except OSError as fault:
        return errno.errorcode[fault.errno]
    finally:
        if folder == "/tmp":
            for path in made:
                os.unlink(path)


stopped = fill("/tmp", 24)
print(f"FULL /tmp {stopped}" if stopped == "ENOSPC" else f"REACHED /tmp {stopped}", flush=True)
fill(HOME, 32)
# Sampled every second or so: who still lives after this was not stopped.
time.sleep(5)
print("REACHED", "home", flush=True)
