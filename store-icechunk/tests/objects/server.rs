//! A server of the tests' own: it answers every request in one way, or not at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bigarray_store_icechunk::{Credentials, Options};

/// What it sends back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    /// Nothing, and keeps the connection.
    Nothing,
    /// The head of an answer and half of the body that it announces.
    Half,
    /// A body that takes for ever, a byte now and then.
    Drops,
    /// This status line and body.
    With(&'static str, &'static str),
    /// Status 403, and all that it was sent, in the body.
    Everything,
}

/// The secret of [`options`], as no error may show it.
pub(crate) const SECRET: &str = "hush-secret";

/// The session token, as servers send it back.
pub(crate) const TOKEN: &str = "hush-token";

/// A server, and the first lines of the requests that it got. It lives as long as the process.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

/// Starts one.
pub(crate) fn start(answers: Answers) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.unwrap(), seen.clone());
            thread::spawn(move || serve(stream, answers, &seen));
        }
    });
    Server { endpoint, requests }
}

/// Until the client goes away.
fn serve(mut stream: TcpStream, answers: Answers, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        if reader.read_exact(&mut vec![0; length]).is_err() {
            return;
        }
        seen.lock().unwrap().push(head.lines().next().unwrap().to_owned());
        let answer = match answers {
            Answers::Nothing => continue,
            Answers::Half => {
                "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nLast-Modified: Mon, 30 Nov 2026 07:00:00 GMT\r\n\
                 Content-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\nhalf "
                    .to_owned()
            }
            Answers::Drops => {
                let head = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nLast-Modified: Mon, 30 Nov 2026 07:00:00 GMT\r\n\
                            Content-Length: 100000\r\n\r\n";
                let mut bytes = head.as_bytes().iter().chain(std::iter::repeat(&b'x'));
                while stream.write_all(&[*bytes.next().unwrap()]).is_ok() {
                    thread::sleep(std::time::Duration::from_millis(1));
                }
                return;
            }
            Answers::With(status, body) => answer(status, body),
            Answers::Everything => {
                let body = format!("<Error><Code>SignatureDoesNotMatch</Code><Sent>{head}{SECRET}</Sent></Error>");
                answer("403 Forbidden", &body)
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Options for the server at `endpoint`, with keys.
pub(crate) fn options(endpoint: &str) -> Options {
    Options {
        endpoint: Some(endpoint.to_owned()),
        credentials: Credentials::Keys {
            access_key_id: "hush-id".to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: Some(TOKEN.to_owned()),
        },
        ..Options::default()
    }
}
