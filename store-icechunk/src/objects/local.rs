//! A directory as a store of objects: what is put is on disk, and an object is replaced only by a caller that has seen it.
//!
//! `object_store`'s own directories replace nothing on a condition. Two of icechunk's commits would both say yes, and one
//! would be lost.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as StdPath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bigarray_core::{Error as CoreError, ErrorKind, Result as CoreResult};
use bigarray_process::Unshared;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UpdateVersion,
};

/// A directory.
#[derive(Debug)]
pub(super) struct Directory {
    files: LocalFileSystem,
    root: Arc<StdPath>,
}

impl Directory {
    /// Takes `root`, and creates it if it is absent and `creates`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is absent and stays so.
    pub(super) fn open(root: &StdPath, creates: bool) -> CoreResult<Directory> {
        let failed = |e| CoreError::io(format_args!("opening file://{}", root.display()), e);
        if creates {
            create(root).map_err(failed)?;
        } else if !root.try_exists().map_err(failed)? {
            let text = format!("file://{}: there is no directory, and none is to be created", root.display());
            return Err(CoreError::new(ErrorKind::NotFound, text));
        }
        let root: Arc<StdPath> = fs::canonicalize(root).map_err(failed)?.into();
        let files = LocalFileSystem::new_with_prefix(&root).map_err(|e| failed(io::Error::other(e)))?;
        Ok(Directory { files: files.with_fsync(true), root })
    }

    /// Puts `payload` in the place of the object that has the ETag of `seen`.
    async fn replace(&self, path: &Path, payload: PutPayload, seen: UpdateVersion) -> Result<PutResult> {
        let file = self.files.path_to_filesystem(path)?;
        // No other process, and no other thread of this one, replaces anything meanwhile: each opens the directory anew.
        let root = self.root.clone();
        let lock = blocking(move || Lock::take(&root)).await?;
        let now = match self.files.head(path).await {
            Ok(now) => now,
            Err(Error::NotFound { path, source }) => return Err(Error::Precondition { path, source }),
            Err(error) => return Err(error),
        };
        if now.e_tag != seen.e_tag {
            let source = format!("it has the ETag {:?} now, not {:?}", now.e_tag, seen.e_tag).into();
            return Err(Error::Precondition { path: path.to_string(), source });
        }
        // Still locked, so that the ETag is that of these bytes and not of what another process put after them.
        let lock = blocking(move || write_over(&file, &payload).map(|()| lock)).await?;
        let e_tag = self.files.head(path).await?.e_tag;
        drop(lock);
        Ok(PutResult { e_tag, version: None, extensions: Default::default() })
    }
}

/// The lock on a directory. It is given back when this is dropped, whatever other descriptors of it there are: a child of
/// `fork` may have one.
struct Lock(Unshared<File>);

impl Lock {
    fn take(root: &StdPath) -> io::Result<Lock> {
        let root = Unshared::open(|| File::open(root))?;
        root.lock()?;
        Ok(Lock(root))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Replaces `file`, so that its old or its new bytes are there after a power loss.
fn write_over(file: &StdPath, payload: &PutPayload) -> io::Result<()> {
    // A list of the directory shows no file of such a name. One that a killed process left behind is written over.
    let mut staged = file.as_os_str().to_owned();
    staged.push("#0");
    let staged = PathBuf::from(staged);
    let mut new = File::create(&staged)?;
    for bytes in payload {
        new.write_all(bytes)?;
    }
    // An ETag is made of the inode, the time and the size. The file system may use an inode again, and its clock ticks
    // slowly, so that a third version could pass for the first: the time of each is later than that of the one before.
    let before = fs::metadata(file)?.modified()?;
    for step in [Duration::from_micros(1), Duration::from_secs(2)] {
        new.set_modified(SystemTime::now().max(before + step))?;
        if new.metadata()?.modified()? > before {
            break;
        }
    }
    new.sync_all()?;
    fs::rename(&staged, file)?;
    sync_parent(file)
}

/// Creates `dir` and the directories above it that are absent; they are there after a power loss.
fn create(dir: &StdPath) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(dir),
    }
}

fn sync_parent(path: &StdPath) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?;
    done.map_err(|source| Error::Generic { store: "directory", source: Box::new(source) })
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Directory {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match options.mode {
            PutMode::Update(seen) => self.replace(path, payload, seen).await,
            _ => self.files.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Icechunk goes on from the ETag that its own replacement gave it, without reading the object again.
    #[test]
    fn the_etag_of_a_replacement_is_that_of_its_own_bytes() {
        const WRITERS: u64 = 8;
        const TIMES: u64 = 30;
        let dir = tempfile::tempdir().unwrap();
        let directory = Arc::new(Directory::open(dir.path(), true).unwrap());
        let path = Path::from("count");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(async {
            directory.put(&path, PutPayload::from_static(b"0")).await.unwrap();
            let writers = (0..WRITERS).map(|_| {
                let (directory, path) = (Arc::clone(&directory), path.clone());
                tokio::spawn(async move {
                    let mut known: Option<(u64, UpdateVersion)> = None;
                    let mut done = 0;
                    while done < TIMES {
                        let (count, seen) = match known.take() {
                            Some(known) => known,
                            None => read(&directory, &path).await,
                        };
                        let next = PutPayload::from((count + 1).to_string().into_bytes());
                        if let Ok(put) = directory.replace(&path, next, seen).await {
                            done += 1;
                            known = Some((count + 1, UpdateVersion { e_tag: put.e_tag, version: None }));
                        }
                    }
                })
            });
            for writer in writers.collect::<Vec<_>>() {
                writer.await.unwrap();
            }
            assert_eq!(read(&directory, &path).await.0, WRITERS * TIMES);
        });
    }

    /// A descriptor that a child of `fork` has of it is such a copy.
    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let _copy = lock.0.try_clone().unwrap();
        let other = File::open(dir.path()).unwrap();
        assert!(other.try_lock().is_err());
        drop(lock);
        other.try_lock().unwrap();
    }

    async fn read(directory: &Directory, path: &Path) -> (u64, UpdateVersion) {
        let got = directory.get(path).await.unwrap();
        let seen = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: None };
        let bytes = got.bytes().await.unwrap();
        (std::str::from_utf8(&bytes).unwrap().parse().unwrap(), seen)
    }
}
