//! HTTP/1.1 as a server: one request after the other on a connection, heads of 64 KiB, bodies of
//! 32 MiB, whole or in chunks. Anything else ends the connection.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::Value;

use super::{Asked, Server};

const HEAD: u64 = 64 * 1024;
const BODY: usize = 32 * 1024 * 1024;

/// Serves a connection until the client is done or something is wrong.
pub(super) fn serve(stream: impl Read + Write, server: &Server) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = request(&mut stream)? {
        let reply = server.answer(asked);
        let out = stream.get_mut();
        let goes_on = reply.write(out)?;
        out.flush()?;
        if !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

fn request(stream: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut head = stream.take(HEAD);
    let Some(first) = line(&mut head)? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(io::Error::other(format!("no request: {first}")));
    };
    let mut asked = Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: Value::Null,
        status: 0,
    };
    loop {
        let line = line(&mut head)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other("no header"))?;
        asked
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let body = body(&asked, stream)?;
    asked.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(asked))
}

fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match line.strip_suffix("\r\n") {
        Some(whole) => Ok(Some(whole.to_owned())),
        None => Err(io::Error::other("a line without its end")),
    }
}

fn body(asked: &Asked, stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match (
        asked.header("content-length"),
        asked.header("transfer-encoding"),
    ) {
        (Some(length), None) => {
            let length: usize = length.parse().map_err(io::Error::other)?;
            fill(stream, &mut body, length)?;
        }
        (None, Some("chunked")) => loop {
            let size = line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            fill(stream, &mut body, size)?;
            if line(stream)?.as_deref() != Some("") {
                return Err(io::Error::other("a chunk without its end"));
            }
            if size == 0 {
                break;
            }
        },
        (None, None) => {}
        _ => return Err(io::Error::other("two lengths")),
    }
    Ok(body)
}

fn fill(stream: &mut impl BufRead, body: &mut Vec<u8>, more: usize) -> io::Result<()> {
    let from = body.len();
    if from + more > BODY {
        return Err(io::Error::other("the body is too large"));
    }
    body.resize(from + more, 0);
    stream.read_exact(&mut body[from..])
}
