//! The client as icechunk and the payload use it: a deadline for each request, errors that may be shown, counters.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::{self, Instant};

use super::failure::{Failure, shown};
use super::location::{Location, Provider};

/// Requests that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Objects read, or parts of them, or asked for.
    pub gets: u64,
    /// Objects written.
    pub puts: u64,
    /// Objects copied, deletions, lists.
    pub others: u64,
    /// Bytes of answers to `gets`.
    pub bytes_got: u64,
    /// Bytes of `puts`.
    pub bytes_put: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    gets: AtomicU64,
    puts: AtomicU64,
    others: AtomicU64,
    bytes_got: AtomicU64,
    bytes_put: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Requests {
        let [gets, puts, others, bytes_got, bytes_put] =
            [&self.gets, &self.puts, &self.others, &self.bytes_got, &self.bytes_put].map(|n| n.load(Ordering::Relaxed));
        Requests { gets, puts, others, bytes_got, bytes_put }
    }
}

/// A client under guard.
pub(super) struct Guarded {
    client: Arc<dyn ObjectStore>,
    location: Location,
    deadline: Duration,
    counters: Arc<Counters>,
}

impl Guarded {
    pub(super) fn new(client: Arc<dyn ObjectStore>, location: Location, deadline: Duration) -> Guarded {
        Guarded { client, location, deadline, counters: Arc::default() }
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Waits for `answer` until the deadline.
    async fn within<T>(&self, method: &str, path: &Path, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.within_time(self.deadline, method, path, answer).await
    }

    async fn within_time<T>(
        &self,
        limit: Duration,
        method: &str,
        path: &Path,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let request = || request(method, &self.location, path);
        match time::timeout(limit, answer).await {
            Ok(result) => shown(result, request),
            Err(_) => Err(late(request(), limit)),
        }
    }

    /// The head of an answer. A connection that was cut without a word is found by this alone: three tries share the
    /// deadline.
    async fn head_of_answer(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let share = self.deadline / 3;
        for _ in 0..2 {
            if let Ok(result) = time::timeout(share, self.client.get_opts(path, options.clone())).await {
                return shown(result, || request("GET", &self.location, path));
            }
        }
        match time::timeout(share, self.client.get_opts(path, options)).await {
            Ok(result) => shown(result, || request("GET", &self.location, path)),
            Err(_) => Err(late(request("GET", &self.location, path), self.deadline)),
        }
    }

    /// The same for answers that come one by one: each has the whole of the deadline.
    fn each<T: Send + 'static>(
        &self,
        request: String,
        answers: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let deadline = self.deadline;
        let next = move |(mut answers, request): (BoxStream<'static, Result<T>>, String)| async move {
            match time::timeout(deadline, answers.next()).await {
                Ok(answer) => Some((shown(answer?, || request.clone()), (answers, request))),
                // Nothing comes behind it.
                Err(_) => Some((Err(late(request.clone(), deadline)), (stream::empty().boxed(), request))),
            }
        };
        stream::unfold((answers, request), next).boxed()
    }

    /// Ceph's gateway compares an `If-Match` with its quotes to an ETag without, finds them unequal, and a commit would be
    /// tried for ever. S3 takes it without quotes. Other servers want it as they sent it.
    fn as_compared(&self, mode: PutMode) -> PutMode {
        match (mode, &self.location.provider) {
            (PutMode::Update(mut version), Provider::S3 { .. }) => {
                version.e_tag = version.e_tag.map(|tag| tag.trim_matches('"').to_owned());
                PutMode::Update(version)
            }
            (mode, _) => mode,
        }
    }
}

/// How long a request may take that moves so many bytes: the deadline, and a second for each 256 KiB. Many requests share
/// a slow line, and one that is given up there is sent again, and again in vain.
pub(super) fn time_for(deadline: Duration, bytes: u64) -> Duration {
    deadline + Duration::from_millis(bytes * 1000 / (256 << 10))
}

fn late(request: String, deadline: Duration) -> Error {
    Error::Generic { store: "objects", source: Box::new(Failure::late(request, deadline)) }
}

/// As `GET s3://bucket/prefix/chunks/ID`.
fn request(method: &str, location: &Location, path: &Path) -> String {
    let name = path.as_ref();
    let name = name.strip_prefix(&location.prefix).unwrap_or(name).trim_start_matches('/');
    format!("{method} {location}/{name}")
}

impl fmt::Debug for Guarded {
    /// Without the client, which shows a part of its keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("location", &self.location)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.location.fmt(f)
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[async_trait]
impl ObjectStore for Guarded {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        count(&self.counters.puts, 1);
        count(&self.counters.bytes_put, payload.content_length() as u64);
        let options = PutOptions { mode: self.as_compared(options.mode), ..options };
        let limit = time_for(self.deadline, payload.content_length() as u64);
        self.within_time(limit, "PUT", path, self.client.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.within("POST", path, self.client.put_multipart_opts(path, options)).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        count(&self.counters.gets, 1);
        let begin = Instant::now();
        let mut result = self.head_of_answer(path, options).await?;
        let limit = time_for(self.deadline, result.range.end - result.range.start);
        if let GetResultPayload::Stream(pieces) = result.payload {
            // One deadline for all pieces: a server that sends a byte now and then answers late, too.
            let request = request("GET", &self.location, path);
            let counters = self.counters.clone();
            let next = move |state: Option<(BoxStream<'static, _>, String)>| {
                let counters = counters.clone();
                async move {
                    let (mut pieces, request) = state?;
                    match time::timeout_at(begin + limit, pieces.next()).await {
                        Ok(piece) => {
                            let piece: Result<bytes::Bytes> = shown(piece?, || request.clone());
                            if let Ok(bytes) = &piece {
                                count(&counters.bytes_got, bytes.len() as u64);
                            }
                            Some((piece, Some((pieces, request))))
                        }
                        Err(_) => Some((Err(late(request, limit)), None)),
                    }
                }
            };
            result.payload = GetResultPayload::Stream(stream::unfold(Some((pieces, request)), next).boxed());
        } else {
            count(&self.counters.bytes_got, result.range.end - result.range.start);
        }
        Ok(result)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        count(&self.counters.others, 1);
        self.each(request("DELETE", &self.location, &Path::default()), self.client.delete_stream(paths))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        count(&self.counters.others, 1);
        let request = request("LIST", &self.location, prefix.unwrap_or(&Path::default()));
        self.each(request, self.client.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        count(&self.counters.others, 1);
        let request = request("LIST", &self.location, prefix.unwrap_or(&Path::default()));
        self.each(request, self.client.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        count(&self.counters.others, 1);
        let path = prefix.cloned().unwrap_or_default();
        self.within("LIST", &path, self.client.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        count(&self.counters.others, 1);
        self.within("COPY", to, self.client.copy_opts(from, to, options)).await
    }
}
