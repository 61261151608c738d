//! Commits: payload is put once, then a compare-and-swap makes it visible, on the newest state that the change does not
//! conflict with.

mod build;
mod draft;
mod land;
mod plan;
mod put;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bigarray_core::store::{Change, CommitLock, Committed, Snapshot};
use bigarray_core::{ArrayId, Error, ErrorKind, Result, Version, conflict, signals};
use icechunk::format::SnapshotId;
use icechunk::format::repo_info::RepoInfo;
use icechunk::session::{SessionError, SessionErrorKind};
use serde_json::Value;

use self::draft::{Draft, Edits};
use self::land::apply;
use self::put::Uploads;
use crate::clock::{LaterEntry, wait_for_clock};
use crate::errors::Located;
use crate::shared::{Newest, Shared};
use crate::snapshot::IcechunkSnapshot;

/// The property of a snapshot of Icechunk that says which commit made it. A commit whose answer was lost is recognised
/// by it.
const COMMIT_PROPERTY: &str = "bigarray_commit";

/// Tries after which a commit goes on without a pause: others have gone before it often enough.
const PAUSED_TRIES: u32 = 3;

/// Tries after which a commit pauses again as at first. So many in vain mean that most writers no longer pause, and only
/// disturb each other.
const MANY_TRIES: u32 = 16;

/// The longest wait before a commit that met another one is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest that the edits of a session and their requests may take together.
const LONGEST_SWAP: Duration = Duration::from_secs(3600);

/// Makes `change` visible, all or nothing.
///
/// # Errors
/// As of [`Store::commit`](bigarray_core::store::Store::commit).
pub(crate) fn commit(shared: &Shared, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
    let _held = signals::hold_between_waits();
    let source = shared.source();
    let uploads = Uploads::new(&source.objects, shared.options().depth);
    let mut draft = Draft::new(change, uploads);
    if change.stores() {
        // A sure loser puts nothing. And where the change turns out to be none, this is the state that it is true of. Other
        // threads may commit while this one puts its payload.
        let tip = shared.newest()?.snapshot;
        conflict::check(change, &*tip)?;
        draft.bring_to(&tip)?;
    }
    let _guard = shared.commit_lock().enter(lock)?;
    land(shared, change, &mut draft)
}

/// Tries the change on the newest state, until it is in one that nothing else came before.
fn land(shared: &Shared, change: &Change<'_>, draft: &mut Draft<'_>) -> Result<Committed> {
    let mut attempts = Attempts::new();
    // The swap tells whether that is still the newest, so to ask first would be a request more.
    let mut known = shared.known();
    loop {
        let tip = match known.take() {
            Some(known) => known,
            None => match shared.newest() {
                // *Conflict* may mean that the swap landed, too, and its answer was lost.
                Err(error) if error.is_unavailable() && !attempts.on.is_empty() => {
                    attempts.unanswered(error)?;
                    continue;
                }
                newest => {
                    let Newest { log, snapshot } = newest?;
                    if let Some((on, landed)) = attempts.find(shared, &log, &snapshot)? {
                        return committed(change, &on, &landed);
                    }
                    snapshot
                }
            },
        };
        if let Some(error) = attempts.refused.take() {
            return Err(error);
        }
        let of_attempts = |error: Error| if error.is_conflict() { error } else { attempts.told(error) };
        conflict::check(change, &*tip).map_err(of_attempts)?;
        let edits = draft.bring_to(&tip).map_err(|error| attempts.told(error))?;
        if edits.edits.is_empty() {
            return committed(change, &tip, &tip);
        }
        wait_for_clock(shared.source().url(), tip.version()).map_err(of_attempts)?;
        attempts.begin(&tip);
        match swap(shared, &tip, edits, &attempts.token) {
            Ok(Ok(id)) => {
                let landed = shared.landed(&id).map_err(|error| is_stored(error, &id))?;
                return committed(change, &tip, &landed);
            }
            Ok(Err(error)) => attempts.failed(error, shared.source().url())?,
            Err(error) => attempts.erred(error)?,
        }
    }
}

/// An error of looking at what was committed.
fn is_stored(error: Error, id: &SnapshotId) -> Error {
    error.context(format_args!("the commit is stored, as {id}"))
}

/// The compare-and-swap: makes the state that `edits` make of `tip` the newest, if `tip` still is.
fn swap(
    shared: &Shared,
    tip: &IcechunkSnapshot,
    edits: Edits,
    token: &str,
) -> Result<std::result::Result<SnapshotId, SessionError>> {
    let repository = &shared.source().repository;
    let mut session = match edits.are_moves {
        true => repository.rearranging_session(&tip.id),
        false => repository.session(&tip.id),
    };
    let properties = BTreeMap::from([(COMMIT_PROPERTY.to_owned(), Value::from(token))]);
    let backend = Arc::clone(repository.backend());
    // Each request has a deadline of its own, and what there is to write has no bound.
    repository.runtime().run_within(shared.options().deadline.max(LONGEST_SWAP), async move {
        // A server that ignores conditions would let two commits replace one state.
        backend.require_conditions().await?;
        Ok(match apply(&mut session, edits.edits).await {
            Ok(()) => session.commit("bigarray").properties(properties).execute().await,
            Err(error) => Err(error),
        })
    })
}

/// What a commit tells: `landed` is the state that it made of `on`.
fn committed(change: &Change<'_>, on: &IcechunkSnapshot, landed: &IcechunkSnapshot) -> Result<Committed> {
    let mut told = Committed { version: landed.version(), ids: Vec::new(), replaced: Vec::new(), changed: Vec::new() };
    for array in &change.arrays {
        let entry =
            |snapshot: &IcechunkSnapshot, name: &str| snapshot.catalog.array(name).map(|e| e.descriptor.clone());
        let before = array.before.as_ref().and_then(|(name, _)| entry(on, name));
        let after = array.after.as_ref().and_then(|(name, _)| entry(landed, name));
        let id = after.as_ref().or(before.as_ref()).map_or(ArrayId(0), |array| array.id);
        told.ids.push(id);
        told.replaced.push(before.map_or(Version(0), |array| array.changed));
        told.changed.push(after.map_or(Version(0), |array| array.changed));
    }
    Ok(told)
}

/// What one commit tried.
struct Attempts {
    /// Says which commit made a state.
    token: String,
    /// The states that it was tried on. None of the answers is the last word: where the answer to a swap was lost and
    /// another commit followed, Icechunk finds that the branch has moved, and says *conflict*.
    on: Vec<Arc<IcechunkSnapshot>>,
    /// When the last of them began.
    began: Instant,
    /// Since when there was no answer, and why.
    unanswered: Option<(Instant, Error)>,
    /// What the last one failed with, where trying again does not help. It may have landed all the same.
    refused: Option<Error>,
}

/// How long a commit without an answer looks for itself.
const LOOKED_FOR: Duration = Duration::from_secs(60);

impl Attempts {
    fn new() -> Attempts {
        let token = format!("{:032x}", fastrand::u128(..));
        Attempts { token, on: Vec::new(), began: Instant::now(), unanswered: None, refused: None }
    }

    fn begin(&mut self, tip: &Arc<IcechunkSnapshot>) {
        self.on.push(Arc::clone(tip));
        self.began = Instant::now();
    }

    /// The state that the commit made, if it did, and the one that it replaced.
    fn find(
        &self,
        shared: &Shared,
        log: &RepoInfo,
        tip: &Arc<IcechunkSnapshot>,
    ) -> Result<Option<(Arc<IcechunkSnapshot>, Arc<IcechunkSnapshot>)>> {
        let Some(first) = self.on.first() else { return Ok(None) };
        let url = shared.source().url();
        for info in log.ancestry(&tip.id).at(url, "the log of commits")? {
            let info = info.at(url, "the log of commits")?;
            if info.id == first.id {
                break;
            }
            if info.metadata.get(COMMIT_PROPERTY).and_then(Value::as_str) == Some(&self.token) {
                let on = self.on.iter().find(|on| Some(&on.id) == info.parent_id.as_ref()).unwrap_or(first);
                let landed = shared.at(&info.id).map_err(|error| is_stored(error, &info.id))?;
                return Ok(Some((Arc::clone(on), landed)));
            }
        }
        Ok(None)
    }

    /// The swap failed. Returns where it may be tried again.
    fn failed(&mut self, error: SessionError, url: &str) -> Result<()> {
        if let Some(time) = error.kind.later_entry() {
            return wait_for_clock(url, time);
        }
        match error.kind {
            SessionErrorKind::Conflict { .. } => {
                pause(longest_pause(self.on.len() as u32, self.began.elapsed()));
                Ok(())
            }
            // The clock went back between the look at it and the swap.
            SessionErrorKind::InvalidSnapshotTimestampOrdering { .. } => Ok(()),
            SessionErrorKind::InvalidSnapshotTimestamp { object_store_time, snapshot_time } => {
                let text = format!(
                    "{url}: the clock of this machine says {}, that of the object storage {}: more than 10 minutes \
                     apart; set it by NTP",
                    snapshot_time.to_rfc3339(),
                    object_store_time.to_rfc3339()
                );
                Err(Error::new(ErrorKind::Unsupported, text))
            }
            _ => Err(error).at(url, "the commit").or_else(|error| self.erred(error)),
        }
    }

    /// The swap failed for another reason than another commit.
    fn erred(&mut self, error: Error) -> Result<()> {
        if error.is_unavailable() {
            return self.unanswered(error);
        }
        self.refused = Some(error);
        Ok(())
    }

    /// There was no answer to the swap: it may have landed, or still be under way. Trying again finds out: what was not
    /// there before the next swap cannot land after it.
    fn unanswered(&mut self, error: Error) -> Result<()> {
        match &self.unanswered {
            Some((since, _)) if since.elapsed() > LOOKED_FOR => Err(self.told(error)),
            Some(_) => {
                pause(growing_pause(self.on.len() as u32));
                Ok(())
            }
            None => {
                self.unanswered = Some((Instant::now(), error));
                Ok(())
            }
        }
    }

    /// The error to tell the caller, who must know whether the commit may be there all the same.
    fn told(&self, error: Error) -> Error {
        match &self.unanswered {
            Some((_, first)) => error.context(format_args!(
                "the commit was sent, and whether it is stored is not known ({first}); look at the data before you try \
                 it again"
            )),
            None => error,
        }
    }
}

/// Waits a random time, so that writers do not meet again.
fn pause(longest: Duration) {
    let pause = longest.mul_f64(fastrand::f64());
    signals::let_through(|| std::thread::sleep(pause));
}

/// The longest pause after so many tries in vain, the last of which took `took`. It gets shorter, so that of several writers
/// the one that has lost the most is the next: were it to get longer, that one would lose again and again to those that have
/// just begun.
fn longest_pause(tries: u32, took: Duration) -> Duration {
    let of_round = tries.saturating_sub(1) % MANY_TRIES;
    (took * PAUSED_TRIES.saturating_sub(of_round) / 2).min(LONGEST_PAUSE)
}

fn growing_pause(attempts: u32) -> Duration {
    Duration::from_millis(5 << attempts.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_that_lost_the_most_pauses_the_least() {
        for took in [Duration::from_millis(1), Duration::from_millis(300), Duration::MAX / 4] {
            let pauses: Vec<Duration> = (1..=MANY_TRIES).map(|tries| longest_pause(tries, took)).collect();
            assert!(pauses.is_sorted_by(|before, after| before >= after), "{pauses:?}");
            assert!(pauses[0] >= took.min(LONGEST_PAUSE) && pauses[15] == Duration::ZERO, "{pauses:?}");
            assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
            assert_eq!(longest_pause(MANY_TRIES + 1, took), pauses[0]);
        }
    }
}
