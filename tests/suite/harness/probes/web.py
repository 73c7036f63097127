"""A web server of the suite on loopback, over TLS and in the clear on one port: plain pages, an event
stream, a WebSocket, git's own server, and files, among them package registries. Started on the host:
web.py ROOT CERTIFICATE. Prints `PORT n`, then each request as it comes."""
import base64, hashlib, http.server, os, pathlib, socket, ssl, subprocess, sys, threading

ROOT, CERTIFICATE = pathlib.Path(sys.argv[1]), sys.argv[2]
# Longer than a client waits: an event that came too early or too late is the test's to tell.
PATIENCE = 60
seen = threading.Event()


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        shown = {name: value for name, value in self.headers.items() if name.lower() in SHOWN}
        if path.endswith("/echo"):
            shown = dict(self.headers), body
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        print("HEARD", scheme, self.command, self.headers["Host"], self.path, shown, flush=True)
        if path.endswith("/ok"):
            self.tell(b"it is there\n")
        elif path.endswith("/echo"):
            self.tell(f"you sent {self.headers.as_string()}".encode() + body)
        elif path.endswith("/away"):
            self.tell(b"", 302, {"Location": query})
        elif path == "/seen":
            seen.set()
            self.tell(b"noted\n")
        elif path == "/events":
            self.events()
        elif path == "/socket":
            self.socket()
        elif path.startswith("/team/"):
            self.git(path, query, body)
        else:
            self.file(path)

    do_POST = do_HEAD = do_PUT = do_GET

    def tell(self, body, status=200, headers=None):
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def events(self):
        """Says the second event only once somebody has told that the first was heard."""
        seen.clear()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event("first")
        self.event("second" if seen.wait(PATIENCE) else "late")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, name):
        text = f"data: {name}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()

    def socket(self):
        key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            first, length = self.rfile.read(2)
            length &= 127
            if length == 126:
                length = int.from_bytes(self.rfile.read(2), "big")
            mask, data = self.rfile.read(4), self.rfile.read(length)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
            if first & 15 == 8:
                self.wfile.write(bytes([0x88, len(data)]) + data)
                return
            data = b"heard " + data
            length = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
            self.wfile.write(b"\x81" + length + data)
            self.wfile.flush()

    def git(self, path, query, body):
        words = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(ROOT / "git"), "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "agent", "REQUEST_METHOD": self.command, "PATH_INFO": path, "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_NOSYSTEM": "1",
        }
        program = subprocess.run(["git", "http-backend"], env=words, input=body, stdout=subprocess.PIPE)
        head, _, answer = program.stdout.partition(b"\r\n\r\n")
        fields = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n"))
        status = int(fields.pop("Status", "200 OK").split()[0])
        self.tell(answer, status, fields)

    def file(self, path):
        found = ROOT / "files" / path.strip("/")
        if found.is_dir():
            found /= "index.html"
        kinds = {".html": "text/html", ".json": "application/json"}
        if found.is_file():
            self.tell(found.read_bytes(), 200, {"Content-Type": kinds.get(found.suffix, "application/octet-stream")})
        else:
            self.tell(b"nothing is here\n", 404)


SHOWN = ("authorization", "x-api-key", "cookie")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE)


class Server(http.server.ThreadingHTTPServer):
    def finish_request(self, request, address):
        if request.recv(1, socket.MSG_PEEK) != b"\x16":
            return super().finish_request(request, address)
        with context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, address)

    def handle_error(self, *_):
        """A client that breaks off is the test's affair."""


server = Server(("127.0.0.1", 0), Answers)
print("PORT", server.server_address[1], flush=True)
server.serve_forever()
