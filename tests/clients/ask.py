"""Asks for each address and prints status and body."""
import sys, urllib.error, urllib.request

for address in sys.argv[1:]:
    try:
        answer = urllib.request.urlopen(address)
    except urllib.error.HTTPError as refused:
        answer = refused
    print(answer.status, answer.read().decode())
