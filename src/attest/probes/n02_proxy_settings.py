"""N2: settings and options that lead a client around the name it asks for."""
import os, socket, subprocess

PORT = os.environ["SINK_PORT"]
allowed = socket.gethostbyname("allowed.test")
WAYS = {
    "NO_PROXY": (["--noproxy", "*", f"http://denied.test:{PORT}/"], {}),
    "ALL_PROXY to an address": ([f"http://denied.test:{PORT}/"], {"ALL_PROXY": f"http://198.51.100.1:{PORT}"}),
    "ALL_PROXY to an allowed name": (["http://denied.test/"], {"ALL_PROXY": f"http://allowed.test:{PORT}"}),
    "--connect-to": (["--connect-to", f"denied.test:80:allowed.test:{PORT}", "http://denied.test/"], {}),
    "--resolve": (["--resolve", f"denied.test:{PORT}:{allowed}", f"http://denied.test:{PORT}/"], {}),
    "--resolve to loopback": (["--resolve", f"denied.test:{PORT}:127.0.0.1", f"http://denied.test:{PORT}/"], {}),
}
for way, (arguments, environment) in WAYS.items():
    command = ["curl", "--silent", "--max-time", "5", *arguments]
    said = subprocess.run(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True)
    print("REACHED" if said.stdout == b"sink" else "CLOSED", way, said.returncode)
print("TRIED", len(WAYS))
