//! The output of an export: standard output, or a file that a later run can continue.
//!
//! The lines go to `FILE.partial`. The state in `FILE.state` says which call was the last one within how many
//! bytes; it is written after these bytes are on disk, about once a second. A run that continues cuts the file to
//! this length and reads on after this call, so that no call is lost and none is written twice. In the end
//! `FILE.partial` becomes `FILE`: a file with this name is complete.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek as _, SeekFrom, Stdout, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    options::Period,
    state::{Position, State, private},
};
use crate::store::views::Cursor;

/// Time between two states.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// The output of an export.
pub(super) enum Output {
    /// Standard output.
    Stdout { stdout: Stdout, period: Period, calls: u64 },
    /// A file that a later run can continue.
    File(Box<ExportFile>),
}

/// A file that is being written.
pub(super) struct ExportFile {
    paths: Paths,
    partial: File,
    state: State,
    /// When the state is written next.
    due: Instant,
}

struct Paths {
    complete: PathBuf,
    partial: PathBuf,
    state: PathBuf,
}

impl Paths {
    fn of(path: &Path) -> Self {
        Self {
            complete: path.to_owned(),
            partial: path.with_added_extension("partial"),
            state: path.with_added_extension("state"),
        }
    }
}

impl ExportFile {
    /// Begins the file at `path` with the first state `new`, or continues it if `resume` is set.
    ///
    /// # Errors
    /// The file is complete, or an interrupted export must not or cannot be continued, or another process is
    /// writing it.
    pub fn open(path: &Path, resume: bool, new: State) -> anyhow::Result<Self> {
        let paths = Paths::of(path);
        let stored = State::read(&paths.state)?;
        let (partial, complete) = (paths.partial.display(), paths.complete.display());
        if !resume {
            ensure!(
                stored.is_none() && !paths.partial.exists(),
                "{partial} is an interrupted export; continue it with --resume, or delete it and {}",
                paths.state.display()
            );
        }
        ensure!(
            !paths.complete.exists(),
            "{complete} exists already; delete it, or choose another name with --output"
        );
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(resume).create_new(!resume);
        let file =
            private(&paths.partial, &mut options).with_context(|| format!("cannot write {partial}"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process is writing {partial}"),
            Err(TryLockError::Error(error)) => return Err(error).context(format!("cannot lock {partial}")),
        }
        let state = match stored {
            None => new,
            Some(stored) => {
                stored
                    .check(&new.selection, new.numbers_shown)
                    .with_context(|| format!("{partial} cannot be continued"))?;
                stored
            }
        };
        let mut file = Self { paths, partial: file, state, due: Instant::now() + CHECKPOINT };
        file.cut()?;
        file.state.write(&file.paths.state)?;
        Ok(file)
    }

    /// Removes what was written after the state.
    fn cut(&mut self) -> anyhow::Result<()> {
        let (path, bytes) = (self.paths.partial.display(), self.state.bytes);
        let length = self.partial.metadata().with_context(|| format!("cannot read {path}"))?.len();
        ensure!(
            length >= bytes,
            "{path} cannot be continued: it has {length} bytes, but its state counts {bytes}"
        );
        let cut = self.partial.set_len(bytes).and_then(|()| self.partial.seek(SeekFrom::End(0)));
        cut.map(drop).with_context(|| format!("cannot write {path}"))
    }

    fn write(&mut self, lines: &[u8], calls: u64, last: Option<Cursor>) -> anyhow::Result<()> {
        self.partial
            .write_all(lines)
            .with_context(|| format!("cannot write {}", self.paths.partial.display()))?;
        self.state.bytes += lines.len() as u64;
        self.state.calls += calls;
        self.state.last = last.map(Position::from).or_else(|| self.state.last.take());
        if Instant::now() >= self.due {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> anyhow::Result<()> {
        let path = self.paths.partial.display();
        self.partial.sync_data().with_context(|| format!("cannot write {path}"))?;
        self.state.write(&self.paths.state)?;
        self.due = Instant::now() + CHECKPOINT;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.checkpoint()?;
        let Paths { complete, partial, state } = &self.paths;
        // After a crash between the two steps, a run that continues begins again.
        fs::remove_file(state).with_context(|| format!("cannot delete {}", state.display()))?;
        fs::rename(partial, complete).with_context(|| format!("cannot rename {}", partial.display()))?;
        // The rename survives a power cut only after this. The file itself is complete in any case.
        if let Some(Ok(folder)) = complete.parent().map(File::open) {
            let _synced = folder.sync_all();
        }
        Ok(())
    }
}

impl Output {
    /// The period of the export: of the run that began it.
    pub fn period(&self) -> Period {
        match self {
            Self::Stdout { period, .. } => *period,
            Self::File(file) => file.state.period,
        }
    }

    /// Calls written so far, by earlier runs too.
    pub fn calls(&self) -> u64 {
        match self {
            Self::Stdout { calls, .. } => *calls,
            Self::File(file) => file.state.calls,
        }
    }

    /// The position of the last call. `None`: nothing is written yet, not even a header.
    pub fn last(&self) -> anyhow::Result<Option<Cursor>> {
        match self {
            Self::Stdout { .. } => Ok(None),
            Self::File(file) => file.state.cursor(),
        }
    }

    /// Whether nothing is written yet, not even a header.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Stdout { calls, .. } => *calls == 0,
            Self::File(file) => file.state.bytes == 0,
        }
    }

    /// Appends the lines of `added` calls, the last of which has the position `last`.
    pub fn write(&mut self, lines: &[u8], added: u64, last: Option<Cursor>) -> anyhow::Result<()> {
        match self {
            Self::Stdout { calls, stdout, .. } => {
                stdout.write_all(lines)?;
                *calls += added;
                Ok(())
            }
            Self::File(file) => file.write(lines, added, last),
        }
    }

    /// Makes what is written durable, and returns how to continue.
    pub fn interrupt(&mut self) -> anyhow::Result<&'static str> {
        match self {
            Self::Stdout { .. } => Ok("use --output, so that an export can be continued"),
            Self::File(file) => {
                file.checkpoint()?;
                Ok("continue with the same command and --resume")
            }
        }
    }

    /// Completes the output. Returns the number of its calls.
    pub fn finish(self) -> anyhow::Result<u64> {
        let calls = self.calls();
        match self {
            Self::Stdout { mut stdout, .. } => stdout.flush()?,
            Self::File(file) => file.finish()?,
        }
        Ok(calls)
    }
}
