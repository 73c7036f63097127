"""K7: more processes than the cap, which is below 64. All that were started are ended again."""
import errno, os, signal

MANY = 64
made, refused = [], None
while len(made) < MANY and refused is None:
    try:
        child = os.fork()
    except OSError as fault:
        refused = fault
        break
    if child == 0:
        signal.pause()
    made.append(child)
if refused is None:
    print("REACHED", MANY, "processes", flush=True)
else:
    print("STOPPED", errno.errorcode[refused.errno], flush=True)
for child in made:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
