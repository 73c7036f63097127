"""K1: the engine's socket, or any other, within reach of the agent."""
import os, socket, stat

for top, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(top, name) not in ("/proc", "/sys")]
    for name in files:
        path = os.path.join(top, name)
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                print("REACHED socket", path)
        except OSError:
            pass
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", "/loki/link/socket"):
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
            print("REACHED connect", path)
        except OSError:
            pass
for port in (2375, 2376):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            print("REACHED tcp", port)
print("LOOKED")
