"""Reads an event stream; tells the server of the first event, without which it says no second."""
import sys, urllib.request

host = sys.argv[1]
for line in urllib.request.urlopen(f"https://{host}/events", timeout=60):
    print(line.decode().strip())
    if line.strip() == b"data: first":
        urllib.request.urlopen(f"https://{host}/seen").read()
