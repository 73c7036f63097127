"""S1: what stands in the environment, of this program and of every process that shows it. An
agent's is made from nothing, so any other name came from outside."""
import os

GIVEN = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "LOKI_ROLE", "SINK_PORT", "LC_CTYPE"}
for name in sorted(set(os.environ) - GIVEN):
    print("REACHED own", name)
looked = 0
for number in filter(str.isdigit, os.listdir("/proc")):
    for file in ("environ", "cmdline", "auxv"):
        try:
            text = open(f"/proc/{number}/{file}", "rb").read()
        except OSError:
            continue
        looked += 1
        # In two, for this very text stands in the command line of this process.
        if b"can" b"ary" in text.lower():
            print("REACHED", number if number == "1" else "process", file)
        names = {entry.split(b"=")[0].decode(errors="replace") for entry in text.split(b"\0") if b"=" in entry}
        if file == "environ":
            for name in sorted(names - GIVEN):
                print("REACHED process", name)
print("LOOKED", "at some" if looked else "at none")
