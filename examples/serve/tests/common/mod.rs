//! The server as a program of its own, and a client that can do everything wrong.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Where the kit with random weights is.
pub(crate) fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/model/tests/data/tiny-s")
}

/// A server that ends with the test.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    stderr: Option<BufReader<ChildStderr>>,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// Starts a server with two slots of 2048 tokens and these arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carat-serve"));
        command.arg(kit().join("text-q4_0.gguf")).args(["--port", "0", "--threads", "1"]);
        for default in [["--slots", "2"], ["--ctx", "2048"]] {
            if !args.contains(&default[0]) {
                command.args(default);
            }
        }
        let command = command.args(args).env_remove("CARAT_API_KEY");
        let child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
        let mut child = child.expect("the program starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            stderr.read_line(&mut line).expect("a line");
            assert!(!line.is_empty(), "the server ended: {said}");
            if let Some((_, address)) = line.trim().split_once("listening on http://") {
                break address.to_owned();
            }
            said.push_str(&line);
        };
        Self { child, address, stderr: Some(stderr) }
    }

    /// Opens a connection and sends bytes.
    pub(crate) fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let minute = Some(Duration::from_secs(60));
        stream.set_read_timeout(minute).expect("a timeout");
        stream.set_write_timeout(minute).expect("a timeout");
        stream.write_all(bytes).expect("the request is sent");
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        read(self.connect(request.as_bytes()))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.post_bytes(path, "application/json", body.to_string().as_bytes())
    }

    pub(crate) fn post_bytes(&self, path: &str, kind: &str, body: &[u8]) -> Response {
        read(self.connect(&request(path, kind, body)))
    }

    /// Asks one question, with further fields.
    pub(crate) fn chat(&self, fields: &Value) -> Response {
        self.post("/v1/chat/completions", &chat(fields))
    }

    /// A number of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
    }

    /// Waits until a number of `/metrics` is as wanted.
    pub(crate) fn wait_for(&self, name: &str, wanted: f64) {
        let begun = Instant::now();
        loop {
            let found = self.metric(name);
            if found == wanted {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{name} is {found}, not {wanted}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(status.success());
    }

    /// What the server said after it began to listen; it has ended then.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.stderr.take().expect("once");
        stderr.read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A question with further fields.
pub(crate) fn chat(fields: &Value) -> Value {
    let messages = json!([{ "role": "user", "content": "what is it?" }]);
    let mut body = json!({ "model": "m", "messages": messages, "max_tokens": 24, "seed": 7 });
    for (key, value) in fields.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body
}

/// The bytes of a request.
pub(crate) fn request(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Reads a response up to the end of the connection.
pub(crate) fn read(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert!(!bytes.is_empty(), "{error}");
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text").to_lowercase();
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    let mut body = bytes[end + 4..].to_vec();
    if head.contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    Response { status, head, body }
}

/// The data of a body in chunks (RFC 9112, section 7.1).
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a number");
        let chunk = &body[end + 2..];
        let Some(found) = chunk.get(..size) else { break };
        data.extend_from_slice(found);
        body = chunk.get(size + 2..).unwrap_or_default();
    }
    data
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The values of server-sent events; `[DONE]` is the last, and is checked and left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut lines = self.data();
        assert_eq!(lines.pop().as_deref(), Some("[DONE]"));
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The data of server-sent events.
    pub(crate) fn data(&self) -> Vec<String> {
        assert!(self.head.contains("content-type: text/event-stream"), "{}", self.head);
        let text = std::str::from_utf8(&self.body).expect("text");
        let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.map(str::to_owned).collect()
    }

    /// The error object of a response with this status.
    pub(crate) fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let error = self.json()["error"].clone();
        assert!(error["message"].is_string() && error["type"].is_string(), "{error}");
        error
    }

    /// The text of a chat's answer.
    pub(crate) fn text(&self) -> String {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let message = &self.json()["choices"][0]["message"];
        message["content"].as_str().unwrap_or_else(|| panic!("{message}")).to_owned()
    }
}
