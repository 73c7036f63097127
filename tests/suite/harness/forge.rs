//! A code host of a test's own: real `git http-backend` over TLS, and a strict model of the
//! interface for pull requests, which refuses what the real one refuses.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::{ServerConnection, Stream};
use serde_json::{Value, json};

use super::https::certified;

/// A code host that lives as long as the test process.
pub(crate) struct Forge {
    /// Its port on `localhost`.
    pub(crate) port: u16,
    /// The certificate of its authority, as PEM.
    pub(crate) authority: String,
    state: Arc<State>,
}

struct State {
    /// Where repositories are: `o/r.git` in it is served.
    root: PathBuf,
    port: u16,
    token: String,
    pulls: Mutex<Vec<Value>>,
    asked: Mutex<Vec<String>>,
}

/// One request, read whole.
struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Forge {
    /// Serves the repositories below `root` to whoever holds `token`.
    pub(crate) fn serve(root: &Path, token: &str) -> Self {
        let (config, authority) = certified(&["localhost"]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            root: root.to_owned(),
            port,
            token: token.to_owned(),
            pulls: Mutex::default(),
            asked: Mutex::default(),
        });
        let (config, shared) = (Arc::new(config), Arc::clone(&state));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                thread::spawn(move || {
                    let mut tls =
                        ServerConnection::new(config).expect("the configuration is whole");
                    let mut stream = Stream::new(&mut tls, &mut stream);
                    // A client that breaks off is the test's affair.
                    while let Ok(Some(asked)) = read(&mut stream) {
                        if stream.write_all(&state.answer(&asked)).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self {
            port,
            authority,
            state,
        }
    }

    /// Returns the pull requests that were opened.
    pub(crate) fn pulls(&self) -> Vec<Value> {
        self.state.pulls.lock().unwrap().clone()
    }

    /// Returns every request so far, `METHOD path`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut impl Read) -> io::Result<Option<Asked>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next(), first.next());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut asked = Asked {
        method: method.unwrap_or_default().to_owned(),
        path: path.unwrap_or_default().to_owned(),
        headers,
        body: Vec::new(),
    };
    if let Some(length) = asked.header("content-length") {
        asked.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut asked.body)?;
    } else if asked.header("transfer-encoding") == Some("chunked") {
        asked.body = chunks(stream)?;
    }
    Ok(Some(asked))
}

fn chunks(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let size = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk)?;
        chunk.truncate(size);
        body.extend(chunk);
        if size == 0 {
            return Ok(body);
        }
    }
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn says(status: &str, body: &Value) -> Vec<u8> {
    let headers = "Content-Type: application/json; charset=utf-8\r\n";
    answer(status, headers, body.to_string().as_bytes())
}

fn invalid(message: &str) -> Vec<u8> {
    let errors = json!([{ "resource": "PullRequest", "code": "custom", "message": message }]);
    let body = json!({ "message": "Validation Failed", "errors": errors });
    says("422 Unprocessable Entity", &body)
}

impl State {
    fn answer(&self, asked: &Asked) -> Vec<u8> {
        let line = format!("{} {}", asked.method, asked.path);
        self.asked.lock().unwrap().push(line);
        match asked.path.strip_prefix("/api/v3") {
            Some(rest) => self.interface(asked, rest),
            None => self.git(asked),
        }
    }

    fn interface(&self, asked: &Asked, rest: &str) -> Vec<u8> {
        if asked.header("user-agent").is_none() {
            let message = "Request forbidden by administrative rules.";
            return says("403 Forbidden", &json!({ "message": message }));
        }
        let wanted = format!("Bearer {}", self.token);
        if asked.header("authorization") != Some(wanted.as_str()) {
            return says("401 Unauthorized", &json!({ "message": "Bad credentials" }));
        }
        let plain = [
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", "2022-11-28"),
        ];
        for (name, value) in plain {
            if asked.header(name) != Some(value) {
                let message = format!("bad header {name}");
                return says("400 Bad Request", &json!({ "message": message }));
            }
        }
        match (asked.method.as_str(), rest) {
            ("GET", "/repos/o/r") => says("200 OK", &json!({ "default_branch": "main" })),
            ("GET", list) if list.starts_with("/repos/o/r/pulls?") => self.list(list),
            ("POST", "/repos/o/r/pulls") => self.open(asked),
            _ => says("404 Not Found", &json!({ "message": "Not Found" })),
        }
    }

    fn list(&self, path: &str) -> Vec<u8> {
        let (_, head) = path.split_once("head=o:").expect("it asks for one branch");
        assert!(path.contains("state=open"), "{path}");
        let pulls = self.pulls.lock().unwrap();
        let own: Vec<&Value> = pulls
            .iter()
            .filter(|one| one["head"]["ref"] == head)
            .collect();
        says("200 OK", &json!(own))
    }

    fn open(&self, asked: &Asked) -> Vec<u8> {
        if asked.header("content-type") != Some("application/json") {
            return says("415 Unsupported", &json!({ "message": "Unsupported" }));
        }
        let Ok(body) = serde_json::from_slice::<Value>(&asked.body) else {
            return says(
                "400 Bad Request",
                &json!({ "message": "Problems parsing JSON" }),
            );
        };
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (title, head, base) = (text("title"), text("head"), text("base"));
        if title.is_empty() || title.len() > 256 || text("body").len() > 65536 {
            return invalid("title or body is not what it may be");
        }
        for branch in [&head, &base] {
            if self.count(&[&format!("refs/heads/{branch}")]).is_none() {
                return invalid(&format!("Field {branch} is invalid"));
            }
        }
        let between = format!("refs/heads/{base}..refs/heads/{head}");
        if self.count(&[&between]) == Some(0) {
            return invalid(&format!("No commits between {base} and {head}"));
        }
        let mut pulls = self.pulls.lock().unwrap();
        if pulls.iter().any(|one| one["head"]["ref"] == head.as_str()) {
            return invalid(&format!("A pull request already exists for o:{head}."));
        }
        let number = pulls.len() + 1;
        let url = format!("https://localhost:{}/o/r/pull/{number}", self.port);
        let made = json!({
            "html_url": url, "number": number, "title": title, "body": body["body"],
            "draft": body["draft"], "head": { "ref": head }, "base": { "ref": base },
        });
        pulls.push(made.clone());
        says("201 Created", &made)
    }

    /// Counts commits, none where git knows no such range.
    fn count(&self, range: &[&str]) -> Option<u64> {
        let git = Command::new("git")
            .args(["rev-list", "--count", "--end-of-options"])
            .args(range)
            .current_dir(self.root.join("o/r.git"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&git.stdout).trim().parse().ok()
    }

    fn git(&self, asked: &Asked) -> Vec<u8> {
        let pair = BASE64_STANDARD.encode(format!("x-access-token:{}", self.token));
        if asked.header("authorization") != Some(format!("Basic {pair}").as_str()) {
            return answer(
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"git\"\r\n",
                b"",
            );
        }
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let mut backend = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_USER", "o")
            .env("REQUEST_METHOD", &asked.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env(
                "CONTENT_TYPE",
                asked.header("content-type").unwrap_or_default(),
            )
            .env("CONTENT_LENGTH", asked.body.len().to_string())
            .env(
                "HTTP_CONTENT_ENCODING",
                asked.header("content-encoding").unwrap_or_default(),
            )
            .env(
                "GIT_PROTOCOL",
                asked.header("git-protocol").unwrap_or_default(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git has its http-backend");
        let mut input = backend.stdin.take().unwrap();
        input.write_all(&asked.body).ok();
        drop(input);
        let said = backend.wait_with_output().unwrap().stdout;
        let end = said.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a head ends");
        let head = String::from_utf8_lossy(&said[..end + 2]).into_owned();
        let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
        answer(status.unwrap_or("200 OK"), &head, &said[end + 4..])
    }
}
