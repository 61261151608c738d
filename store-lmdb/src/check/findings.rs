//! The findings of a check, collected up to a limit.

use bigarray_core::{Damage, Error, ErrorKind, Report, Result};

use super::is_damage;

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings {
    damages: Vec<Damage>,
    more: u64,
}

impl Findings {
    /// Most findings that are kept; more are counted. [`Report::damages`] says so.
    pub(super) const KEPT: usize = 1000;
    /// Most findings that an error names.
    const NAMED: usize = 8;

    pub(super) fn note(&mut self, damage: Damage) {
        if self.damages.len() < Findings::KEPT {
            self.damages.push(damage);
        } else {
            self.more += 1;
        }
    }

    /// Counts findings that are not kept.
    pub(super) fn count(&mut self, more: u64) {
        self.more += more;
    }

    /// Returns a decoded value. Corruption is noted as `damage` makes it; other errors end the check.
    pub(super) fn take<T>(&mut self, decoded: Result<T>, damage: impl FnOnce(String) -> Damage) -> Result<Option<T>> {
        match decoded {
            Ok(value) => Ok(Some(value)),
            Err(e) if is_damage(&e) => {
                self.note(damage(e.to_string()));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    pub(super) fn into_report(mut self, verified_bytes: u64) -> Report {
        self.damages.sort_by(|a, b| (&a.array, a.block).cmp(&(&b.array, b.block)));
        Report::new(self.damages, self.more, verified_bytes)
    }

    pub(super) fn into_result(self) -> Result<()> {
        if self.damages.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = self.damages.iter().take(Findings::NAMED).map(Damage::to_string).collect();
        let mut text = told.join("; ");
        let more = self.more + (self.damages.len() - told.len()) as u64;
        if more > 0 {
            text += &format!("; and {more} more");
        }
        Err(Error::new(ErrorKind::Corrupt, text))
    }
}
