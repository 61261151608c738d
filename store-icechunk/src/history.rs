//! The states that the branch had: its log, and tags.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bigarray_core::store::{Commit, Compacted, History, Snapshot};
use bigarray_core::{Error, ErrorKind, Result, Version};
use icechunk::format::snapshot::SnapshotInfo;
use icechunk::format::{IcechunkFormatErrorKind, SnapshotId};
use icechunk::refs::RefErrorKind;
use icechunk::repository::RepositoryErrorKind;

use crate::clock::{LaterEntry, wait_for_clock};
use crate::compact;
use crate::errors::Located;
use crate::shared::{Newest, Shared};

impl History for Shared {
    fn at(&self, commit: &str) -> Result<Arc<dyn Snapshot>> {
        let Newest { log, .. } = self.newest()?;
        let url = self.source().url();
        let id = match log.resolve_tag(commit) {
            Ok(id) => id,
            Err(error) if matches!(error.kind, IcechunkFormatErrorKind::TagNotFound { .. }) => {
                let id = SnapshotId::try_from(commit).ok().filter(|id| log.find_snapshot(id).is_ok());
                id.ok_or_else(|| {
                    let text = format!("{url}: no commit and no tag is called {commit:?}, or none any more");
                    Error::new(ErrorKind::NotFound, text)
                })?
            }
            error => error.at(url, "its tags")?,
        };
        Ok(self.at(&id)?)
    }

    fn log(&self, limit: usize) -> Result<Vec<Commit>> {
        let Newest { log, snapshot } = self.newest()?;
        let url = self.source().url();
        let infos = log.ancestry(&snapshot.id).at(url, "the log of commits")?;
        infos.take(limit).map(|info| Ok(commit_of(&info.at(url, "the log of commits")?))).collect()
    }

    fn tags(&self) -> Result<Vec<(String, String)>> {
        let Newest { log, .. } = self.newest()?;
        let tags = log.tags().at(self.source().url(), "its tags")?;
        let mut tags: Vec<_> = tags.map(|(name, id)| (name.to_owned(), id.to_string())).collect();
        tags.sort();
        Ok(tags)
    }

    fn tag(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        if name.is_empty() || name.contains('/') {
            let text = format!("no tag can be named {name:?}: it is empty or contains a slash");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let Newest { log, snapshot } = self.newest()?;
        let (repository, id) = (Arc::clone(&self.source().repository), snapshot.id.clone());
        // The answer to an earlier request may have been lost.
        if log.resolve_tag(name).is_ok_and(|tagged| tagged == id) {
            return Ok(());
        }
        loop {
            let (named, tagged, through) = (name.to_owned(), id.clone(), Arc::clone(&repository));
            let outcome = repository.runtime().run(async move {
                through.backend().require_conditions().await?;
                Ok(through.icechunk().create_tag(&named, &tagged).await)
            })?;
            let later_entry = outcome.as_ref().err().and_then(|error| error.kind.later_entry());
            match (outcome, later_entry) {
                (Err(_), Some(time)) => wait_for_clock(repository.url(), time)?,
                (Err(error), None) if is_taken(&error.kind) => {
                    let text = format!("{}: another commit has the tag {name:?}, or had it", repository.url());
                    return Err(Error::new(ErrorKind::AlreadyExists, text));
                }
                (tagged, _) => return tagged.at(repository.url(), format_args!("the tag {name:?}")),
            }
        }
    }

    fn compact(&self, keep: Duration) -> Result<Compacted> {
        self.source().check_process()?;
        self.check_writable()?;
        compact::compact(&self.source().repository, keep)
    }
}

fn is_taken(kind: &RepositoryErrorKind) -> bool {
    matches!(
        kind,
        RepositoryErrorKind::Ref(RefErrorKind::TagAlreadyExists(_))
            | RepositoryErrorKind::FormatError(IcechunkFormatErrorKind::TagAlreadyExists { .. })
    )
}

fn commit_of(info: &SnapshotInfo) -> Commit {
    let micros = u64::try_from(info.flushed_at.timestamp_micros()).unwrap_or(0);
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
    let mut commit = Commit::new(info.id.to_string(), Version(micros), time);
    commit.message.clone_from(&info.message);
    commit
}
