//! Reads the files of the log at its start.

use std::{fs, io, path::Path};

use super::{
    WebhookLog,
    position::split,
    segment::{Opened, Segment, quarantine, report},
};

impl WebhookLog {
    /// Reads all files, and continues the last one.
    pub(super) fn recover(&mut self) -> io::Result<()> {
        for name in names(&self.folder)? {
            self.recover_file(&name)?;
        }
        self.apply_checkpoint()?;
        self.continue_last();
        Ok(())
    }

    /// Reads the file `name`.
    fn recover_file(&mut self, name: &str) -> io::Result<()> {
        let path = self.folder.join(name);
        let mut segment = match Segment::open(&self.folder, name)? {
            Opened::Segment(segment) => segment,
            Opened::Unfinished => return fs::remove_file(path),
            Opened::Damaged => return quarantine(&path),
        };
        self.last_number = self.last_number.max(segment.number);
        match segment.recover(&mut self.window) {
            Ok(_) if self.segments.contains_key(&segment.number) => quarantine(&path),
            Ok(scan) => {
                report(&segment, &scan);
                self.checkpoint = self.checkpoint.max(scan.checkpoint);
                self.segments.insert(segment.number, segment);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a file of the spool cannot be read");
                quarantine(&path)
            }
        }
    }

    /// Removes what the latest checkpoint says.
    fn apply_checkpoint(&mut self) -> io::Result<()> {
        let (number, offset) = split(self.checkpoint);
        for (_, segment) in self.segments.range_mut(..number) {
            segment.clear();
        }
        match self.segments.get_mut(&number) {
            Some(segment) => segment.remove_below(offset, &mut self.window),
            None => Ok(()),
        }
    }

    /// Adds further records to the last segment, if the disk allows it.
    fn continue_last(&mut self) {
        let Some((number, last)) = self.segments.last_key_value() else { return };
        match last.write_again() {
            Ok(()) => self.current = Some(*number),
            Err(error) => tracing::warn!(%error, "a file of the spool cannot be written any more"),
        }
    }
}

/// The names of the segments in `folder`.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|kind| kind == "log") {
            names.extend(name.to_str().map(str::to_owned));
        }
    }
    Ok(names)
}
