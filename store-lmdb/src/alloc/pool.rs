//! Runs of pages, used front to back.

use super::Run;

/// Runs of pages, used front to back.
pub(crate) struct Pool {
    runs: std::vec::IntoIter<Run>,
    rest: Option<Run>,
}

impl Pool {
    pub(crate) fn new(runs: impl IntoIterator<Item = Run>) -> Pool {
        Pool { runs: runs.into_iter().collect::<Vec<_>>().into_iter(), rest: None }
    }

    /// So many pages, or all that there are.
    pub(crate) fn draw(&mut self, mut pages: u64) -> Vec<Run> {
        let mut drawn = Vec::new();
        while pages > 0
            && let Some(run) = self.rest.take().or_else(|| self.runs.next())
        {
            let taken = pages.min(run.pages.into()) as u16;
            drawn.push(Run { pages: taken, ..run });
            pages -= u64::from(taken);
            self.rest = (taken < run.pages).then(|| Run { first: run.first + taken, pages: run.pages - taken, ..run });
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_split_where_what_is_drawn_ends() {
        let run = |first, pages| Run { chunk: 7, first, pages };
        let mut pool = Pool::new([run(0, 10), run(20, 5), run(30, 1)]);
        assert_eq!(pool.draw(4), [run(0, 4)]);
        assert_eq!(pool.draw(10), [run(4, 6), run(20, 4)]);
        assert_eq!(pool.draw(0), []);
        assert_eq!(pool.draw(9), [run(24, 1), run(30, 1)]);
    }
}
