//! A Hub on this machine that can be as bad as the network: it answers over plain HTTP, one request
//! a connection, and writes down what it was asked.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// By names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests with this method and path there were before.
    pub(crate) nth: usize,
}

/// What a server does instead of answering well.
pub(crate) enum Act {
    /// Sends these bytes and closes the connection.
    Send(Vec<u8>),
    /// Sends them, then nothing, and keeps the connection open for a while.
    SendAndStall(Vec<u8>),
    /// Sends them and breaks the connection off.
    SendAndReset(Vec<u8>),
    /// Sends them in pieces of so many bytes with pauses between.
    Drip(Vec<u8>, usize, Duration),
}

/// A server that runs until the test ends.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Handler = dyn Fn(&Asked) -> Act + Send + Sync;

impl Server {
    pub(crate) fn new(handler: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, handler): (_, Arc<Handler>) = (asked.clone(), Arc::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, handler) = (log.clone(), handler.clone());
                thread::spawn(move || {
                    // A client that goes away is part of the test.
                    let _ = serve(stream, &log, &*handler);
                });
            }
        });
        Self { url, asked }
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panics with it").clone()
    }

    /// The `Range` of every request for bytes, in order; `-` for all of them.
    pub(crate) fn ranges(&self) -> Vec<String> {
        let gets = self
            .asked()
            .into_iter()
            .filter(|asked| asked.method == "GET" && asked.path.contains("/resolve/"));
        gets.map(|asked| asked.headers.get("range").map_or("-", String::as_str).to_owned())
            .collect()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, handler: &Handler) -> std::io::Result<()> {
    // The last byte of a request is left: a connection that is closed with bytes in it is reset.
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        text.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    });
    let (method, path, headers) = (method.to_owned(), path.to_owned(), headers.collect());
    let asked = {
        let mut log = log.lock().expect("no thread panics with it");
        let nth = log.iter().filter(|a| a.method == method && a.path == path).count();
        let asked = Asked { method, path, headers, nth };
        log.push(asked.clone());
        asked
    };
    let act = handler(&asked);
    if let Act::SendAndReset(bytes) = &act {
        stream.write_all(bytes)?;
        // Let it arrive before it is taken back.
        sleep(Duration::from_millis(300));
        return Ok(());
    }
    stream.read_exact(&mut byte)?;
    match act {
        Act::Send(bytes) => {
            stream.write_all(&bytes)?;
            stream.shutdown(Shutdown::Write)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            // Until the client has read all of it.
            stream.read_exact(&mut byte)?;
        }
        Act::SendAndStall(bytes) => {
            stream.write_all(&bytes)?;
            sleep(Duration::from_secs(60));
        }
        Act::Drip(bytes, size, pause) => {
            for piece in bytes.chunks(size) {
                stream.write_all(piece)?;
                sleep(pause);
            }
        }
        Act::SendAndReset(_) => {}
    }
    Ok(())
}

/// A response with a body.
pub(crate) fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

/// Bytes that look like nothing in particular, the same each time.
pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A repository as a good Hub has it.
#[derive(Clone)]
pub(crate) struct Repo {
    pub(crate) name: String,
    pub(crate) commit: String,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Repo {
    pub(crate) fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(file, bytes)| ((*file).to_owned(), bytes.to_vec()));
        Self { name: name.to_owned(), commit: COMMIT.to_owned(), files: files.collect() }
    }

    /// What a good Hub that sends all bytes itself answers.
    pub(crate) fn answer(&self, asked: &Asked) -> Act {
        let path = asked.path.split('?').next().unwrap_or_default();
        if path.starts_with(&format!("/api/models/{}/tree/", self.name)) {
            return Act::Send(response("200 OK", &[], self.list().as_bytes()));
        }
        let Some(bytes) = self.bytes(path) else {
            let headers = [("X-Error-Code", "EntryNotFound")];
            return Act::Send(response("404 Not Found", &headers, b""));
        };
        match asked.method.as_str() {
            "HEAD" => Act::Send(self.head(bytes, &[])),
            _ => Act::Send(self.get(asked, bytes)),
        }
    }

    pub(crate) fn list(&self) -> String {
        let entries = self.files.iter().map(|(file, bytes)| {
            serde_json::json!({ "type": "file", "path": file, "size": bytes.len() })
        });
        serde_json::Value::from(entries.collect::<Vec<_>>()).to_string()
    }

    /// The bytes of the file that a path means.
    pub(crate) fn bytes(&self, path: &str) -> Option<&[u8]> {
        let rest = path.strip_prefix(&format!("/{}/resolve/", self.name))?;
        let (_, file) = rest.split_once('/')?;
        let found = self.files.iter().find(|(name, _)| escaped(name) == file);
        found.map(|(_, bytes)| bytes.as_slice())
    }

    /// The answer to HEAD, with other headers in the place of the usual ones of the same name.
    pub(crate) fn head(&self, bytes: &[u8], other: &[(&str, &str)]) -> Vec<u8> {
        let (hash, size) = (format!("\"{}\"", sha256(bytes)), bytes.len().to_string());
        let usual = [
            ("X-Repo-Commit", self.commit.as_str()),
            ("ETag", hash.as_str()),
            ("X-Linked-Etag", hash.as_str()),
            ("X-Linked-Size", size.as_str()),
            ("Content-Length", size.as_str()),
            ("Accept-Ranges", "bytes"),
        ];
        let mut headers: Vec<_> = usual
            .into_iter()
            .filter(|(name, _)| !other.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)))
            .collect();
        headers.extend(other.iter().filter(|(_, value)| !value.is_empty()));
        response("200 OK", &headers, b"")
    }

    /// The answer to GET, with the range that is asked for.
    pub(crate) fn get(&self, asked: &Asked, bytes: &[u8]) -> Vec<u8> {
        let hash = format!("\"{}\"", sha256(bytes));
        let from = asked.headers.get("range").and_then(|range| {
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        match from {
            None => response("200 OK", &[("ETag", &hash)], bytes),
            Some(from) if from >= bytes.len() => {
                response("416 Range Not Satisfiable", &[("ETag", &hash)], b"")
            }
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                let headers = [("ETag", hash.as_str()), ("Content-Range", range.as_str())];
                response("206 Partial Content", &headers, &bytes[from..])
            }
        }
    }
}

/// A path as it stands in an address.
pub(crate) fn escaped(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let escape = |byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
