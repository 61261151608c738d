//! A proxy before an HTTP server that does to each request what the test says: passes it on late, answers in the server's
//! place, cuts the answer, loses it. It counts requests, and how many of them a client waited for one after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bigarray_core::sync::Mutex;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Passed on, as its answer is.
    Pass,
    /// Answered 500 in the server's place.
    Fail,
    /// Passed on; of the answer this many bytes come, and then the connection ends.
    CutAnswer(usize),
    /// Passed on; the answer is dropped, and the connection ends.
    LoseAnswer,
    /// Neither passed on nor answered; the connection ends.
    Drop,
    /// Neither passed on nor answered; the connection stays open until the proxy is dropped.
    Hang,
}

type Decide = dyn FnMut(&str) -> Fate + Send;

struct Shared {
    server: SocketAddr,
    /// Added to each way, there and back.
    delay: Duration,
    decide: Mutex<Box<Decide>>,
    requests: AtomicUsize,
    /// When a request that was passed on came, and when its answer arrives.
    served: Mutex<Vec<(Instant, Instant)>>,
    is_over: AtomicBool,
}

/// The proxy; its threads end when it is dropped and its connections are closed.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// Before `server` (`HOST:PORT`). A round trip takes `round_trip` longer.
    pub fn before(server: &str, round_trip: Duration) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: server.parse().unwrap(),
            delay: round_trip / 2,
            decide: Mutex::new(Box::new(|_| Fate::Pass)),
            requests: AtomicUsize::new(0),
            served: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, Ok(client)) = (of_thread.clone(), client) else { continue };
                // A connection that ends early is one of the things that are tested.
                std::thread::spawn(move || _ = serve(&shared, &client));
            }
        });
        Proxy { shared, address }
    }

    /// Where it listens: `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on `decide` is asked for the fate of each request, by its first line (`PUT /bucket/key HTTP/1.1`).
    pub fn on_request(&self, decide: impl FnMut(&str) -> Fate + Send + 'static) {
        *self.shared.decide.lock() = Box::new(decide);
    }

    /// How many requests came, so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// The longest row of requests since `begin` each of which came after the answer to the one before had arrived: how
    /// many round trips a client waited for that sends what it can at once. Where answers are not late, requests that are
    /// sent at once may seem to follow each other.
    pub fn round_trips_since(&self, begin: Instant) -> usize {
        let mut served: Vec<_> = self.shared.served.lock().iter().filter(|(came, _)| *came >= begin).copied().collect();
        served.sort_by_key(|(_, arrived)| *arrived);
        let mut last = begin;
        served.retain(|(came, arrived)| {
            let follows = *came >= last;
            if follows {
                last = *arrived;
            }
            follows
        });
        served.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

/// The requests of one connection, one after the other.
fn serve(shared: &Arc<Shared>, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(shared.server)?;
    server.set_nodelay(true)?;
    let (late_server, late_client) = (Late::new(&server, shared.delay)?, Late::new(client, shared.delay)?);
    let (mut requests, mut answers) = (BufReader::new(client.try_clone()?), BufReader::new(server.try_clone()?));
    while let Some(request) = Message::read(&mut requests)? {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let fate = shared.decide.lock()(request.first_line());
        match fate {
            Fate::Drop => break,
            Fate::Hang => {
                while !shared.is_over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                break;
            }
            Fate::Fail => {
                let answer = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                late_client.send(answer.into());
                break;
            }
            Fate::Pass | Fate::CutAnswer(_) | Fate::LoseAnswer => {}
        }
        let came = Instant::now();
        let is_head = request.first_line().starts_with("HEAD ");
        late_server.send(request.into_bytes());
        let Some(answer) = Message::read_answer(&mut answers, is_head)? else { break };
        match fate {
            Fate::LoseAnswer => break,
            Fate::CutAnswer(bytes) => {
                let mut answer = answer.into_bytes();
                answer.truncate(bytes);
                late_client.send(answer);
                break;
            }
            _ => {
                shared.served.lock().push((came, Instant::now() + shared.delay));
                late_client.send(answer.into_bytes());
            }
        }
    }
    // What was sent arrives first.
    drop((late_server, late_client));
    client.shutdown(Shutdown::Both)
}

/// The write end of a connection behind a delay: bytes arrive that much later, in order, and others may follow
/// meanwhile.
struct Late {
    queue: Option<mpsc::Sender<(Instant, Vec<u8>)>>,
    delay: Duration,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Late {
    fn new(stream: &TcpStream, delay: Duration) -> io::Result<Late> {
        let mut stream = stream.try_clone()?;
        let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
        let thread = std::thread::spawn(move || {
            for (at, bytes) in due {
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
        });
        Ok(Late { queue: Some(queue), delay, thread: Some(thread) })
    }

    fn send(&self, bytes: Vec<u8>) {
        let queue = self.queue.as_ref().expect("open until it is dropped");
        // The other end is gone: the next read says so.
        _ = queue.send((Instant::now() + self.delay, bytes));
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.queue = None;
        _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// A request or an answer: its head, and its body by content-length or in chunks.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    fn read(from: &mut impl BufRead) -> io::Result<Option<Message>> {
        let Some(head) = read_head(from)? else { return Ok(None) };
        let body = read_body(from, &head)?;
        Ok(Some(Message { head, body }))
    }

    /// An answer to HEAD tells the length of a body that does not come.
    fn read_answer(from: &mut impl BufRead, to_head: bool) -> io::Result<Option<Message>> {
        loop {
            let Some(head) = read_head(from)? else { return Ok(None) };
            let is_bare = to_head || head.starts_with("HTTP/1.1 204") || head.starts_with("HTTP/1.1 304");
            // "100 Continue" goes before the answer; a client that asks for it does not wait for ever.
            if head.starts_with("HTTP/1.1 100") {
                continue;
            }
            let body = if is_bare { Vec::new() } else { read_body(from, &head)? };
            return Ok(Some(Message { head, body }));
        }
    }

    fn first_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    fn into_bytes(self) -> Vec<u8> {
        [self.head.into_bytes(), self.body].concat()
    }
}

/// All up to the empty line; `None` at the end of the connection.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn read_body(from: &mut impl BufRead, head: &str) -> io::Result<Vec<u8>> {
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let mut body = Vec::new();
    if field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut size = String::new();
            from.read_line(&mut size)?;
            let bytes = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            body.extend_from_slice(size.as_bytes());
            from.take(bytes as u64 + 2).read_to_end(&mut body)?;
            if bytes == 0 {
                return Ok(body);
            }
        }
    }
    let bytes = field("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    from.take(bytes).read_to_end(&mut body)?;
    Ok(body)
}
