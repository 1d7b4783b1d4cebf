//! A file system in memory that knows what a power cut would leave of it. Pure: no kernel, no clock.
//!
//! Everything exists twice: as it is, and as it is on the medium. What is written changes the first only;
//! a sync copies from the first to the second; a cut copies back. What a sync of one file does for names
//! and for other files is the [`Durability`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use nix::errno::Errno;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    Durability, Loss, Lost,
    content::{Content, PAGE},
};

/// Inode number of the root.
pub(super) const ROOT: u64 = 1;
/// Names removed before what nothing refers to any more is looked for.
const SWEEP: usize = 64;

/// What is told of a file or folder.
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
    /// How often the kernel was told of it and has not forgotten it: it may be open without a name.
    lookups: u64,
}

/// A change that is not on the medium yet.
#[derive(Debug)]
enum Change {
    /// Names in folders, and what each means from now on.
    Names(Vec<(u64, OsString, Option<u64>)>),
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
    removed: usize,
    /// Pages in use, and how many there may be.
    pub used: u64,
    pub capacity: u64,
}

type Outcome<T> = Result<T, Errno>;

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

    fn inode(&mut self, ino: u64) -> Outcome<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or(Errno::ENOENT)
    }

    fn file(&mut self, ino: u64) -> Outcome<&mut File> {
        match &mut self.inode(ino)?.node {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn folder(&mut self, ino: u64) -> Outcome<&mut Folder> {
        match &mut self.inode(ino)?.node {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub fn attributes(&mut self, ino: u64) -> Outcome<Attributes> {
        let inode = self.inode(ino)?;
        let (is_folder, size) = match &inode.node {
            Node::File(file) => (false, file.live.size()),
            Node::Folder(_) => (true, 0),
        };
        Ok(Attributes { ino, is_folder, size, mode: inode.mode, changed: inode.changed })
    }

    fn find(&mut self, folder: u64, name: &OsStr) -> Outcome<Option<u64>> {
        Ok(self.folder(folder)?.live.get(name).copied())
    }

    /// What `name` is; counts as one more lookup.
    pub fn lookup(&mut self, folder: u64, name: &OsStr) -> Outcome<Attributes> {
        let ino = self.find(folder, name)?.ok_or(Errno::ENOENT)?;
        self.inode(ino)?.lookups += 1;
        self.attributes(ino)
    }

    pub fn forget(&mut self, ino: u64, lookups: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.lookups = inode.lookups.saturating_sub(lookups);
        }
    }

    pub fn change_mode(&mut self, ino: u64, mode: u16) -> Outcome<()> {
        self.inode(ino)?.mode = mode;
        Ok(())
    }

    /// Makes a file or a folder; counts as a lookup.
    pub fn create(
        &mut self,
        (folder, name): (u64, &OsStr),
        is_folder: bool,
        mode: u16,
        now: SystemTime,
    ) -> Outcome<Attributes> {
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

    pub fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Outcome<()> {
        let ino = self.find(folder, name)?.ok_or(Errno::ENOENT)?;
        self.check_replaceable(ino, is_folder)?;
        self.name(vec![(folder, name.to_owned(), None)])
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), may_replace: bool) -> Outcome<()> {
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

    /// Whether what is at `ino` may go, for a folder or for a file.
    fn check_replaceable(&mut self, ino: u64, for_folder: bool) -> Outcome<()> {
        match (&self.inode(ino)?.node, for_folder) {
            (Node::File(_), true) => Err(Errno::ENOTDIR),
            (Node::Folder(_), false) => Err(Errno::EISDIR),
            (Node::Folder(folder), true) if !folder.live.is_empty() => Err(Errno::ENOTEMPTY),
            (Node::File(_), false) | (Node::Folder(_), true) => Ok(()),
        }
    }

    /// Changes names, for now.
    fn name(&mut self, names: Vec<(u64, OsString, Option<u64>)>) -> Outcome<()> {
        for (folder, name, to) in &names {
            let live = &mut self.folder(*folder)?.live;
            let gone = match to {
                Some(ino) => live.insert(name.clone(), *ino),
                None => live.remove(name),
            };
            self.removed += usize::from(gone.is_some());
        }
        self.pending.push(Change::Names(names));
        if self.removed >= SWEEP {
            self.sweep();
        }
        Ok(())
    }

    pub fn entries(&mut self, folder: u64) -> Outcome<Vec<(OsString, Attributes)>> {
        let entries: Vec<_> =
            self.folder(folder)?.live.iter().map(|(name, ino)| (name.clone(), *ino)).collect();
        entries.into_iter().map(|(name, ino)| Ok((name, self.attributes(ino)?))).collect()
    }

    pub fn read(&mut self, ino: u64, offset: u64, length: usize) -> Outcome<Vec<u8>> {
        Ok(self.file(ino)?.live.read(offset, length))
    }

    pub fn write(&mut self, ino: u64, offset: u64, data: &[u8], now: SystemTime) -> Outcome<()> {
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

    pub fn resize(&mut self, ino: u64, size: u64, now: SystemTime) -> Outcome<()> {
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

    /// Puts a file or a folder on the medium. `only_data`: no more than is needed to read the bytes back.
    pub fn sync(&mut self, ino: u64, only_data: bool) -> Outcome<()> {
        let durability = self.durability;
        let inode = self.inodes.get_mut(&ino).ok_or(Errno::ENOENT)?;
        let wanted = match &mut inode.node {
            Node::File(file) => {
                let grown = file.live.size() != file.medium.size();
                file.medium.take_over(&mut file.live);
                let named = grown || self.pending.iter().any(|change| change.touches(ino));
                self.pending.retain(|change| !matches!(change, Change::Truncate(file, _) if *file == ino));
                durability == Durability::Journaled && (named || !only_data)
            }
            Node::Folder(_) => true,
        };
        if wanted {
            let (now, later) = std::mem::take(&mut self.pending)
                .into_iter()
                .partition(|change| durability == Durability::Journaled || change.touches(ino));
            self.pending = later;
            self.commit(now);
        }
        Ok(())
    }

    fn commit(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Names(names) => {
                    for (folder, name, to) in names {
                        // A folder that is gone needs no names.
                        let Ok(folder) = self.folder(folder) else { continue };
                        match to {
                            Some(ino) => folder.medium.insert(name, ino),
                            None => folder.medium.remove(&name),
                        };
                    }
                }
                Change::Truncate(ino, size) => {
                    if let Ok(file) = self.file(ino) {
                        file.medium.resize(size);
                    }
                }
            }
        }
    }

    /// The power fails: what is on the medium is all there is.
    pub fn cut(&mut self, loss: Loss) -> Lost {
        let mut rng = match loss {
            Loss::Everything => None,
            Loss::Some(seed) => Some(StdRng::seed_from_u64(seed)),
        };
        let mut toll = Lost::default();
        let pending = std::mem::take(&mut self.pending);
        let all = pending.len();
        let survivors: Vec<_> = match (&mut rng, self.durability) {
            (None, _) => Vec::new(),
            (Some(rng), Durability::Journaled) => {
                pending.into_iter().take(rng.random_range(0..=all)).collect()
            }
            (Some(rng), Durability::Strict) => pending.into_iter().filter(|_| rng.random_bool(0.5)).collect(),
        };
        toll.changes = all - survivors.len();
        self.commit(survivors);
        let mut inodes: Vec<_> = self.inodes.iter_mut().collect();
        inodes.sort_unstable_by_key(|(ino, _)| **ino); // The seed decides, not the hasher.
        for (_, inode) in inodes {
            inode.lookups = 0;
            match &mut inode.node {
                Node::File(file) => {
                    toll.pages += match &mut rng {
                        Some(rng) => file.medium.survive(&file.live, rng),
                        None => file.live.unsynced(),
                    };
                    file.live = file.medium.synced();
                }
                Node::Folder(folder) => folder.live = folder.medium.clone(),
            }
        }
        self.sweep();
        toll
    }

    /// Lets go of what no name leads to, as it is or on the medium, and what is not open.
    fn sweep(&mut self) {
        self.removed = 0;
        let (mut kept, mut to_see) = (HashSet::new(), vec![ROOT]);
        to_see.extend(self.inodes.iter().filter(|(_, inode)| inode.lookups > 0).map(|(ino, _)| *ino));
        for change in &self.pending {
            if let Change::Names(names) = change {
                to_see.extend(names.iter().flat_map(|(folder, _, to)| [Some(*folder), *to]).flatten());
            }
        }
        while let Some(ino) = to_see.pop() {
            if let Some(Inode { node: Node::Folder(folder), .. }) = self.inodes.get(&ino)
                && !kept.contains(&ino)
            {
                to_see.extend(folder.live.values().chain(folder.medium.values()));
            }
            kept.insert(ino);
        }
        self.inodes.retain(|ino, _| kept.contains(ino));
        self.used = self
            .inodes
            .values()
            .map(|inode| match &inode.node {
                Node::File(file) => file.live.pages(),
                Node::Folder(_) => 0,
            })
            .sum();
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used) * PAGE as u64
    }
}

#[cfg(test)]
#[path = "model/tests.rs"]
mod tests;
