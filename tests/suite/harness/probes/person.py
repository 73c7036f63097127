"""Plays a person at a terminal: starts a program on one, follows a script, tells what was seen.

Arguments: a list of steps as JSON, then the program. Steps: ["see", text], ["type", text],
["resize", rows, columns], ["raw", whether], ["kill", signal]. Prints one JSON object.
"""
import fcntl, json, os, select, struct, sys, termios, time

LIMIT = 120
steps, argv = json.loads(sys.argv[1]), sys.argv[2:]
master, terminal = os.openpty()


def resize(rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def modes():
    return termios.tcgetattr(terminal)[:4] + [str(termios.tcgetattr(terminal)[6])]


def look(seconds):
    """Takes what is shown, for so long at most."""
    global shown
    if select.select([master], [], [], seconds)[0]:
        shown += os.read(master, 65536)


def wait_for(done, what):
    end = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > end:
            os.kill(child, 9)
            sys.exit(f"never came: {what}\n{shown!r}")
        look(0.05)


resize(33, 101)
before, shown, seen = modes(), b"", 0
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(terminal, number)
    os.closerange(3, 256)
    os.execvp(argv[0], argv)
for kind, *given in steps:
    if kind == "see":
        text = given[0].encode()
        wait_for(lambda: text in shown[seen:], text)
        seen = shown.index(text, seen) + len(text)
    elif kind == "raw":
        raw = lambda: not termios.tcgetattr(terminal)[3] & termios.ICANON
        wait_for(lambda: raw() == given[0], f"raw {given[0]}")
    elif kind == "type":
        os.write(master, given[0].encode())
    elif kind == "resize":
        resize(*given)
    elif kind == "kill":
        os.kill(child, given[0])
status = []


def ended():
    if not status:
        status.extend(os.waitpid(child, os.WNOHANG))
        if status[0] == 0:
            status.clear()
    return bool(status)


wait_for(ended, "the end")
while select.select([master], [], [], 0.1)[0]:
    look(0)
code = os.waitstatus_to_exitcode(status[1])
print(json.dumps({"shown": shown.decode(errors="replace"), "code": code, "restored": modes() == before}))
