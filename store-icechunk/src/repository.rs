//! The Icechunk repository that a store's arrays are in: opened or created, the tip of its branch, sessions on it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::{Error, ErrorKind, Result};
use icechunk::asset_manager::AssetManager;
use icechunk::config::{ManifestConfig, ManifestSplittingConfig, RepositoryConfig};
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::manifest::Manifest;
use icechunk::format::repo_info::RepoInfo;
use icechunk::format::snapshot::Snapshot;
use icechunk::format::{ManifestId, SnapshotId};
use icechunk::repository::RepositoryErrorKind;
use icechunk::session::Session;
use icechunk::virtual_chunks::VirtualChunkResolver;

use crate::errors::Located;
use crate::objects::{Backend, Runtime};

/// The branch that is read and committed to.
pub(crate) const BRANCH: &str = "main";

/// References in one manifest, an axis. A commit writes the manifests of what it changes anew: without a limit a commit of
/// one chunk to 10⁶ costs 56 times what it costs to 256, with it about the same.
const MANIFEST_REFERENCES: u32 = 10_000;

/// Manifests of one commit that are fetched at a time.
const MANIFESTS_AT_ONCE: u16 = 16;

/// Entries of the log of operations in the object `repo`, which each commit writes: 100 take about 17 KB of it.
const OPERATIONS_IN_REPO: u16 = 100;

/// How often the creation of a repository is tried while other processes create it too.
const CREATIONS: u32 = 20;

/// An open repository.
pub(crate) struct Repository {
    icechunk: icechunk::Repository,
    backend: Arc<Backend>,
    virtual_chunks: Arc<VirtualChunkResolver>,
    runtime: Arc<Runtime>,
    url: Arc<str>,
}

/// A state of the branch, and the log that it is in.
pub(crate) struct Tip {
    pub(crate) log: Arc<RepoInfo>,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Repository {
    /// Opens the repository that `backend` leads to, or, if `create` says so, creates it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a place that holds something else, [`ErrorKind::NotFound`] if there is none and none is
    /// to be created, and what storage says.
    pub(crate) fn open(backend: &Arc<Backend>, runtime: &Arc<Runtime>, create: bool) -> Result<Repository> {
        let url: Arc<str> = backend.location().to_string().into();
        let (through, at) = (Arc::clone(backend), Arc::clone(&url));
        let icechunk = runtime.run(async move { open_or_create(&through, &at, create).await })?;
        let settings = icechunk.storage_settings().clone();
        let containers = icechunk.config().virtual_chunk_containers().cloned();
        let virtual_chunks = Arc::new(VirtualChunkResolver::new(containers, HashMap::new(), settings));
        let (backend, runtime) = (Arc::clone(backend), Arc::clone(runtime));
        Ok(Repository { icechunk, backend, virtual_chunks, runtime, url })
    }

    /// Where its objects are.
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// What fetches and writes its metadata.
    pub(crate) fn assets(&self) -> &Arc<AssetManager> {
        self.icechunk.asset_manager()
    }

    pub(crate) fn icechunk(&self) -> &icechunk::Repository {
        &self.icechunk
    }

    pub(crate) fn url(&self) -> &Arc<str> {
        &self.url
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The newest state. One request, which brings nothing if the log is the one that was seen last.
    pub(crate) fn tip(&self) -> Result<Tip> {
        let (assets, url) = (Arc::clone(self.assets()), Arc::clone(&self.url));
        self.runtime.run(async move {
            let (log, _) = assets.fetch_repo_info().await.at(&url, "the log of commits")?;
            let id = log.resolve_branch(BRANCH).at(&url, "its branch")?;
            let snapshot = assets.fetch_snapshot(&id).await.at(&url, "a snapshot")?;
            Ok(Tip { log, snapshot })
        })
    }

    /// The state of that id.
    pub(crate) fn snapshot(&self, id: SnapshotId) -> Result<Arc<Snapshot>> {
        let (assets, url) = (Arc::clone(self.assets()), Arc::clone(&self.url));
        self.runtime.run(async move { assets.fetch_snapshot(&id).await.at(&url, "a snapshot") })
    }

    /// Fetches manifests of an array, all at once: their ids and the bytes that each takes.
    pub(crate) fn manifests(&self, array: &str, wanted: Vec<(ManifestId, u64)>) -> Result<Vec<Arc<Manifest>>> {
        self.runtime.run(self.fetching(array, wanted))
    }

    /// The same, to be awaited on the runtime.
    pub(crate) fn fetching(
        &self,
        array: &str,
        wanted: Vec<(ManifestId, u64)>,
    ) -> impl Future<Output = Result<Vec<Arc<Manifest>>>> + Send + use<> {
        let (assets, url, array) = (Arc::clone(self.assets()), Arc::clone(&self.url), array.to_owned());
        async move {
            let fetches = wanted.iter().map(|(id, bytes)| assets.fetch_manifest(&array, id, *bytes));
            let fetched = futures::future::join_all(fetches).await;
            fetched.into_iter().map(|manifest| manifest.at(&url, "a manifest")).collect()
        }
    }

    /// A session whose commit lands if `at` is still the newest state, and only then.
    pub(crate) fn session(&self, at: &SnapshotId) -> Session {
        Session::create_writable_session(
            self.icechunk.config().clone(),
            self.icechunk.storage_settings().clone(),
            Arc::clone(self.icechunk.storage()),
            Arc::clone(self.assets()),
            Arc::clone(&self.virtual_chunks),
            Some(BRANCH.to_owned()),
            at.clone(),
            self.icechunk.default_commit_metadata().clone(),
        )
    }

    /// The same, for moves alone.
    pub(crate) fn rearranging_session(&self, at: &SnapshotId) -> Session {
        Session::create_rearrange_session(
            self.icechunk.config().clone(),
            self.icechunk.storage_settings().clone(),
            Arc::clone(self.icechunk.storage()),
            Arc::clone(self.assets()),
            Arc::clone(&self.virtual_chunks),
            BRANCH.to_owned(),
            at.clone(),
            self.icechunk.default_commit_metadata().clone(),
        )
    }
}

async fn open_or_create(backend: &Backend, url: &str, create: bool) -> Result<icechunk::Repository> {
    let storage = backend.storage();
    let mut tries = 0;
    loop {
        match icechunk::Repository::open(Arc::clone(&storage)).config(settings(None)).execute().await {
            // Those that made the repository may have chosen how its manifests are split.
            Ok(repository) if is_split(&repository) => return Ok(repository),
            Ok(repository) => return repository.reopen(Some(settings(split())), None).await.at(url, "its settings"),
            Err(error) if !matches!(error.kind, RepositoryErrorKind::RepositoryDoesntExist) => {
                return Err(error).at(url, "opening the repository");
            }
            Err(_) if !create => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("{url}: there is no database, and none is to be created"),
                ));
            }
            Err(_) => {}
        }
        backend.require_conditions().await?;
        let created = icechunk::Repository::create(Arc::clone(&storage))
            .config(settings(split()))
            .spec_version(SpecVersionBin::V2)
            .execute()
            .await;
        match created {
            Ok(repository) => return Ok(repository),
            // Another process may be creating it: its first objects are there before the one that counts.
            Err(error) if tries < CREATIONS && is_race(&error.kind) => {}
            Err(error) if matches!(error.kind, RepositoryErrorKind::ParentDirectoryNotClean) => {
                let text = format!("{url}: there is something, but no database: take a prefix that nothing is at");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            Err(error) => return Err(error).at(url, "creating the repository"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn is_race(kind: &RepositoryErrorKind) -> bool {
    matches!(kind, RepositoryErrorKind::ParentDirectoryNotClean | RepositoryErrorKind::RepoInfoUpdated)
}

fn is_split(repository: &icechunk::Repository) -> bool {
    repository.config().manifest.as_ref().is_some_and(|manifest| manifest.splitting.is_some())
}

fn split() -> Option<ManifestSplittingConfig> {
    Some(ManifestSplittingConfig::with_size(MANIFEST_REFERENCES))
}

fn settings(splitting: Option<ManifestSplittingConfig>) -> RepositoryConfig {
    RepositoryConfig {
        manifest: Some(ManifestConfig {
            splitting,
            max_concurrent_manifest_fetches_during_commit: Some(MANIFESTS_AT_ONCE),
            ..ManifestConfig::default()
        }),
        num_updates_per_repo_info_file: Some(OPERATIONS_IN_REPO),
        ..RepositoryConfig::default()
    }
}
