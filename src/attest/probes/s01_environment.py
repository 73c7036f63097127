"""S1: what stands in the environment, of this program and of every process that shows it. An
agent's is made from nothing, so any other name came from outside."""
import os

GIVEN = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "LOKI_ROLE", "SINK_PORT", "LC_CTYPE"}
# Where programs find the certificates they may trust, and nothing else.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TRUST = {
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE", "DENO_CERT", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NIX_SSL_CERT_FILE", "HTTPLIB2_CA_CERTS",
    "NODE_EXTRA_CA_CERTS",
}


def foreign(environment):
    """Names of an environment that Loki did not give, or not this value."""
    trusted = {name for name in TRUST if environment.get(name) == BUNDLE}
    return sorted(set(environment) - GIVEN - trusted)


for name in foreign(os.environ):
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
        entries = [entry.decode(errors="replace") for entry in text.split(b"\0") if b"=" in entry]
        if file == "environ":
            for name in foreign(dict(entry.split("=", 1) for entry in entries)):
                print("REACHED process", name)
print("LOOKED", "at some" if looked else "at none")
