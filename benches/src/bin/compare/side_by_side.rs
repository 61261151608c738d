//! Durable commits of many threads, and of many processes, to arrays of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bigarray::Database;
use bigarray::ndarray::Ix1;

use crate::Outcome;
use crate::rounds::{Rounds, timed};
use crate::row::Row;
use crate::stored::{PAGE_LEN, Place};

const THREADS: usize = 16;
const PROCESSES: usize = 8;

/// Speeds, in commits a second, against those of one thread.
pub(crate) fn commits(place: &Place) -> Outcome<Vec<Row>> {
    let path = place.path("side-by-side.bigarray");
    let db = Database::open(&path)?;
    db.transact(|txn| (0..THREADS).try_for_each(|n| txn.create::<f64, _>(&name(n), PAGE_LEN).map(drop)))?;
    let each = place.pick(100, 20);
    let one = || Ok(timed_of(|| commit(&db, 0, each))? / each as f64);
    let threads = || {
        let all = || {
            std::thread::scope(|scope| -> Outcome<()> {
                let commit = |n: usize| commit(&db, n, each).map_err(|error| error.to_string());
                let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || commit(n))).collect();
                threads.into_iter().try_for_each(|thread| Ok(thread.join().expect("no panic")?))
            })
        };
        Ok(timed_of(all)? / (each * THREADS) as f64)
    };
    let processes = || {
        let mut children = (0..PROCESSES).map(|n| Committing::start(&path, n, each)).collect::<Outcome<Vec<_>>>()?;
        let all = || {
            children.iter_mut().try_for_each(Committing::go)?;
            children.iter_mut().try_for_each(Committing::end)
        };
        Ok(timed_of(all)? / (each * PROCESSES) as f64)
    };
    let by_threads = Rounds::run(place.rounds(), threads, one)?;
    let by_processes = Rounds::run(place.rounds(), processes, one)?;
    Ok(vec![
        by_threads.speed("commits of 16 threads", "one thread", 5.0),
        by_processes.speed("commits of 8 processes", "one thread", 1.5),
    ])
}

fn name(n: usize) -> String {
    format!("a{n}")
}

fn timed_of(run: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let (done, seconds) = timed(run);
    done.map(|()| seconds)
}

/// Commits `times` changes of a page.
fn commit(db: &Database, n: usize, times: usize) -> Outcome<()> {
    for _ in 0..times {
        let txn = db.begin()?;
        txn.array::<f64, Ix1>(&name(n))?.view_mut()[0] += 1.0;
        txn.commit()?;
    }
    Ok(())
}

/// The job of a process that commits once it is told to; `operand` says to which array, and how often.
pub(crate) fn commit_when_told(path: &Path, operand: usize) -> Outcome<Vec<f64>> {
    let db = Database::open(path)?;
    println!("0");
    std::io::stdin().read_line(&mut String::new())?;
    commit(&db, operand % PROCESSES, operand / PROCESSES)?;
    Ok(vec![1.0])
}

/// Such a process.
struct Committing {
    child: Child,
    figures: BufReader<std::process::ChildStdout>,
}

impl Committing {
    /// Starts it, and waits until it has the database open.
    fn start(path: &Path, n: usize, times: usize) -> Outcome<Committing> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--child", "commit-when-told"]).arg(path).arg((times * PROCESSES + n).to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut figures = BufReader::new(child.stdout.take().ok_or("no output of a process")?);
        figures.read_line(&mut String::new())?;
        Ok(Committing { child, figures })
    }

    fn go(&mut self) -> Outcome<()> {
        Ok(self.child.stdin.take().ok_or("a process was told twice")?.write_all(b"\n")?)
    }

    /// Waits until it has committed.
    fn end(&mut self) -> Outcome<()> {
        self.figures.read_to_string(&mut String::new())?;
        match self.child.wait()? {
            ended if ended.success() => Ok(()),
            ended => Err(format!("a process that commits ended with {ended}").into()),
        }
    }
}
