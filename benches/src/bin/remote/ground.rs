//! What cases are measured on: databases at URLs of their own, whose objects are deleted when a case is done.

use std::cell::Cell;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Database};
use bigarray_benches::Outcome;
use bigarray_benches::rounds::timed;
use bigarray_store_icechunk::objects::{Backend, Location, Provider};
use bigarray_store_icechunk::{Adapter, Options};
use bigarray_testing::Proxy;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::Arguments;

/// Bytes of a MiB.
pub(crate) const MIB: usize = 1 << 20;

/// What a proxy adds to a round trip, where it adds something.
pub(crate) const AWAY: Duration = Duration::from_millis(20);

/// Threads that plain requests run on: as many as a database has for its own.
const THREADS: usize = 4;

/// Where to measure, and how much.
pub(crate) struct Ground {
    url: String,
    /// The server, where a proxy can stand before it.
    server: Option<String>,
    /// On a disk of this machine.
    dir: TempDir,
    quick: bool,
    rounds: Option<usize>,
    commits: Option<usize>,
    runtime: Arc<Runtime>,
    next: Cell<usize>,
}

impl Ground {
    pub(crate) fn new(arguments: &Arguments) -> Outcome<Ground> {
        let Arguments { url, quick, rounds, commits, .. } = arguments;
        Location::parse(url)?;
        // Other runs left nothing there.
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let url = format!("{}-{time}", url.trim_end_matches('/'));
        let server = match std::env::var("AWS_ENDPOINT_URL") {
            Ok(endpoint) if url.starts_with("s3:") => address(&endpoint)?,
            _ => None,
        };
        let runtime = Arc::new(Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?);
        let dir = tempfile::Builder::new().prefix("remote-").tempdir_in(&arguments.place)?;
        Ok(Ground { url, server, dir, quick: *quick, rounds: *rounds, commits: *commits, runtime, next: Cell::new(0) })
    }

    /// `full`, or `quick` where that was asked for.
    pub(crate) fn pick(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Rounds of a case that takes a second or more.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(self.pick(5, 2))
    }

    /// Commits of a database that ages.
    pub(crate) fn commits(&self) -> usize {
        self.commits.unwrap_or(self.pick(5000, 200))
    }

    /// A path on a disk of this machine that nothing is at.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.dir.path().join(format!("{}-{name}", self.next.get()))
    }

    /// What plain requests run on.
    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// A place with nothing in it.
    pub(crate) fn place(&self) -> Outcome<Place> {
        self.next.set(self.next.get() + 1);
        let url = format!("{}-{}", self.url, self.next.get());
        Ok(Place { location: Location::parse(&url)?, url, runtime: self.runtime.clone() })
    }

    /// A database with the array "a" of `len` numbers, written by one commit.
    pub(crate) fn filled(&self, len: usize, options: &ArrayOptions) -> Outcome<Place> {
        let place = self.place()?;
        fill(&place.open()?, len, options)?;
        Ok(place)
    }

    /// A proxy before the server, where there is one that speaks HTTP; `case` is left out if not.
    pub(crate) fn proxy(&self, round_trip: Duration, case: &str) -> Option<Proxy> {
        if self.server.is_none() {
            eprintln!("    left out, since no server is reached by http://: {case}");
        }
        self.server.as_ref().map(|server| Proxy::before(server, round_trip))
    }
}

/// `HOST:PORT` of a URL, the host as a number.
fn address(endpoint: &str) -> Outcome<Option<String>> {
    let Some(host) = endpoint.strip_prefix("http://").map(|host| host.trim_end_matches('/')) else { return Ok(None) };
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    Ok(host.to_socket_addrs()?.next().map(|address| address.to_string()))
}

/// The number at place `n` of every array.
pub(crate) fn number(n: usize) -> f64 {
    (n % 1009) as f64 + 1.0
}

/// Makes the array "a" of `len` numbers.
pub(crate) fn fill(db: &Database, len: usize, options: &ArrayOptions) -> Outcome<()> {
    Ok(db.transact(|txn| {
        let mut array = txn.create_with::<f64, _>("a", len, options)?;
        array.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = number(n));
        Ok(())
    })?)
}

/// Seconds that it takes to add up all numbers of the array "a".
pub(crate) fn scan(db: &Database) -> Outcome<f64> {
    let array = db.array::<f64, Ix1>("a")?;
    let (sum, seconds) = timed(|| array.view().sum());
    let right: f64 = (0..array.len()).map(number).sum();
    if sum == right { Ok(seconds) } else { Err(format!("the sum is {sum}, not {right}").into()) }
}

/// The address of a database. Its objects go when it is dropped.
pub(crate) struct Place {
    url: String,
    location: Location,
    runtime: Arc<Runtime>,
}

impl Place {
    /// Opens the database as a new process does: with nothing in memory.
    pub(crate) fn open(&self) -> Outcome<Database> {
        Ok(Database::open_url(&self.url)?)
    }

    /// The same through a proxy.
    pub(crate) fn open_through(&self, proxy: &Proxy) -> Outcome<Database> {
        Ok(Database::options().endpoint(proxy.url()).open_url(&self.url)?)
    }

    /// The same with a disk cache.
    pub(crate) fn open_cached(&self, directory: &std::path::Path) -> Outcome<Database> {
        Ok(Database::options().disk_cache(directory, 4 << 30).open_url(&self.url)?)
    }

    /// Its storage as icechunk and a database see it, and the bare client of that.
    pub(crate) fn backend(&self) -> Outcome<(Backend, Arc<dyn ObjectStore>)> {
        let (send, sent) = mpsc::channel();
        let adapter = Adapter::new(move |client| {
            let _ = send.send(client.clone());
            client
        });
        let backend = Backend::new(&self.location, &Options { adapter: Some(adapter), ..Options::default() })?;
        Ok((backend, sent.recv()?))
    }

    /// A new client of `object_store`.
    pub(crate) fn client(&self) -> Outcome<Arc<dyn ObjectStore>> {
        Ok(self.backend()?.1)
    }

    /// The path of what is called `name` there.
    pub(crate) fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.location.prefix))
    }

    /// The objects that hold payload.
    pub(crate) fn chunks(&self) -> Outcome<Vec<ObjectMeta>> {
        Ok(self.objects()?.into_iter().filter(|object| self.is_chunk(object)).collect())
    }

    /// Bytes of all other objects.
    pub(crate) fn metadata_bytes(&self) -> Outcome<u64> {
        Ok(self.objects()?.iter().filter(|object| !self.is_chunk(object)).map(|object| object.size).sum())
    }

    fn objects(&self) -> Outcome<Vec<ObjectMeta>> {
        let (client, prefix) = (self.client()?, Path::from(self.location.prefix.as_str()));
        Ok(self.runtime.block_on(client.list(Some(&prefix)).try_collect())?)
    }

    fn is_chunk(&self, object: &ObjectMeta) -> bool {
        object.location.prefix_matches(&self.path("chunks"))
    }

    fn delete(&self) -> Outcome<()> {
        if let Provider::Directory { path } = &self.location.provider {
            return Ok(std::fs::remove_dir_all(path)?);
        }
        let (client, prefix) = (self.client()?, Path::from(self.location.prefix.as_str()));
        let paths = client.list(Some(&prefix)).map_ok(|object| object.location).boxed();
        self.runtime.block_on(client.delete_stream(paths).try_for_each(|_| async { Ok(()) }))?;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            eprintln!("    not all objects of {} are deleted: {error}", self.url);
        }
    }
}
