//! A file system in memory with the state that would survive a power cut. Pure: no kernel, no clock.
//!
//! Every file and folder has a current state (`live`) and a durable state (`medium`). A write changes the
//! current state, a sync copies it to the durable one, and a power cut copies back. [`Durability`] says what
//! a sync of one file does for names and other files.

mod sync;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use nix::errno::Errno;

use super::{
    content::{Content, PAGE},
    power_cut::Durability,
};

/// Inode number of the root.
pub(super) const ROOT: u64 = 1;
/// Number of removed names after which unreachable files are freed.
const SWEEP_AFTER: usize = 64;

/// Attributes of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub ino: u64,
    pub is_folder: bool,
    pub size: u64,
    pub mode: u16,
    pub changed: SystemTime,
}

#[derive(Debug, Default)]
struct File {
    live: Content,
    medium: Content,
}

#[derive(Debug, Default)]
struct Folder {
    live: BTreeMap<OsString, u64>,
    medium: BTreeMap<OsString, u64>,
}

#[derive(Debug)]
enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Debug)]
struct Inode {
    node: Node,
    mode: u16,
    changed: SystemTime,
    /// Number of references that the kernel holds. A file without a name stays while the kernel holds a
    /// reference, because the file may be open.
    lookups: u64,
}

/// A change that is not durable yet.
#[derive(Debug)]
enum Change {
    /// New targets of names: folder, name, and inode or `None` for a removal.
    Names(Vec<(u64, OsString, Option<u64>)>),
    /// New size of a file.
    Truncate(u64, u64),
}

impl Change {
    fn touches(&self, ino: u64) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|(folder, _, to)| *folder == ino || *to == Some(ino)),
            Self::Truncate(file, _) => *file == ino,
        }
    }
}

/// The file system.
#[derive(Debug)]
pub(super) struct Model {
    inodes: HashMap<u64, Inode>,
    next: u64,
    pending: Vec<Change>,
    durability: Durability,
    /// Names removed since the last sweep.
    removed: usize,
    /// Number of pages in use.
    pub used: u64,
    /// Maximum number of pages.
    pub capacity: u64,
}

type Result<T> = std::result::Result<T, Errno>;

impl Model {
    pub fn new(durability: Durability, capacity: u64, now: SystemTime) -> Self {
        let root = Inode { node: Node::Folder(Folder::default()), mode: 0o755, changed: now, lookups: 1 };
        Self {
            inodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
            pending: Vec::new(),
            durability,
            removed: 0,
            used: 0,
            capacity,
        }
    }

    fn inode(&mut self, ino: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or(Errno::ENOENT)
    }

    fn file(&mut self, ino: u64) -> Result<&mut File> {
        match &mut self.inode(ino)?.node {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn folder(&mut self, ino: u64) -> Result<&mut Folder> {
        match &mut self.inode(ino)?.node {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub fn attributes(&mut self, ino: u64) -> Result<Attributes> {
        let inode = self.inode(ino)?;
        let (is_folder, size) = match &inode.node {
            Node::File(file) => (false, file.live.size()),
            Node::Folder(_) => (true, 0),
        };
        Ok(Attributes { ino, is_folder, size, mode: inode.mode, changed: inode.changed })
    }

    fn find(&mut self, folder: u64, name: &OsStr) -> Result<Option<u64>> {
        Ok(self.folder(folder)?.live.get(name).copied())
    }

    /// The attributes of `name`. Counts as a reference of the kernel.
    pub fn lookup(&mut self, folder: u64, name: &OsStr) -> Result<Attributes> {
        let ino = self.find(folder, name)?.ok_or(Errno::ENOENT)?;
        self.inode(ino)?.lookups += 1;
        self.attributes(ino)
    }

    pub fn forget(&mut self, ino: u64, lookups: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.lookups = inode.lookups.saturating_sub(lookups);
        }
    }

    pub fn change_mode(&mut self, ino: u64, mode: u16) -> Result<()> {
        self.inode(ino)?.mode = mode;
        Ok(())
    }

    /// Creates a file or a folder. Counts as a reference of the kernel.
    pub fn create(
        &mut self,
        (folder, name): (u64, &OsStr),
        is_folder: bool,
        mode: u16,
        now: SystemTime,
    ) -> Result<Attributes> {
        if self.find(folder, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if self.used >= self.capacity {
            return Err(Errno::ENOSPC);
        }
        let ino = self.next;
        self.next += 1;
        let node = if is_folder { Node::Folder(Folder::default()) } else { Node::File(File::default()) };
        self.inodes.insert(ino, Inode { node, mode, changed: now, lookups: 1 });
        self.name(vec![(folder, name.to_owned(), Some(ino))])?;
        self.attributes(ino)
    }

    pub fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Result<()> {
        let ino = self.find(folder, name)?.ok_or(Errno::ENOENT)?;
        self.check_replaceable(ino, is_folder)?;
        self.name(vec![(folder, name.to_owned(), None)])
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), may_replace: bool) -> Result<()> {
        let ino = self.find(from.0, from.1)?.ok_or(Errno::ENOENT)?;
        if let Some(old) = self.find(to.0, to.1)? {
            if !may_replace {
                return Err(Errno::EEXIST);
            }
            if old == ino {
                return Ok(());
            }
            let is_folder = self.attributes(ino)?.is_folder;
            self.check_replaceable(old, is_folder)?;
        }
        self.name(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), Some(ino))])
    }

    /// Fails if `ino` must not be removed or replaced: as a folder with `for_folder`, else as a file.
    fn check_replaceable(&mut self, ino: u64, for_folder: bool) -> Result<()> {
        match (&self.inode(ino)?.node, for_folder) {
            (Node::File(_), true) => Err(Errno::ENOTDIR),
            (Node::Folder(_), false) => Err(Errno::EISDIR),
            (Node::Folder(folder), true) if !folder.live.is_empty() => Err(Errno::ENOTEMPTY),
            (Node::File(_), false) | (Node::Folder(_), true) => Ok(()),
        }
    }

    /// Changes names in the current state.
    fn name(&mut self, names: Vec<(u64, OsString, Option<u64>)>) -> Result<()> {
        for (folder, name, to) in &names {
            let live = &mut self.folder(*folder)?.live;
            let replaced = match to {
                Some(ino) => live.insert(name.clone(), *ino),
                None => live.remove(name),
            };
            self.removed += usize::from(replaced.is_some());
        }
        self.pending.push(Change::Names(names));
        if self.removed >= SWEEP_AFTER {
            self.sweep();
        }
        Ok(())
    }

    pub fn entries(&mut self, folder: u64) -> Result<Vec<(OsString, Attributes)>> {
        let entries: Vec<_> =
            self.folder(folder)?.live.iter().map(|(name, ino)| (name.clone(), *ino)).collect();
        entries.into_iter().map(|(name, ino)| Ok((name, self.attributes(ino)?))).collect()
    }

    pub fn read(&mut self, ino: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        Ok(self.file(ino)?.live.read(offset, length))
    }

    pub fn write(&mut self, ino: u64, offset: u64, data: &[u8], now: SystemTime) -> Result<()> {
        let (used, capacity) = (self.used, self.capacity);
        let file = self.file(ino)?;
        let more = file.live.missing(offset, data.len());
        if more > 0 && used + more > capacity {
            return Err(Errno::ENOSPC);
        }
        file.live.write(offset, data);
        self.used += more;
        self.inode(ino)?.changed = now;
        Ok(())
    }

    pub fn resize(&mut self, ino: u64, size: u64, now: SystemTime) -> Result<()> {
        let file = self.file(ino)?;
        if file.live.size() == size {
            return Ok(());
        }
        let freed = file.live.resize(size);
        self.used -= freed;
        self.pending.push(Change::Truncate(ino, size));
        self.inode(ino)?.changed = now;
        Ok(())
    }

    /// Free bytes.
    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used) * PAGE as u64
    }
}

#[cfg(test)]
mod tests;
