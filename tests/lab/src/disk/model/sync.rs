//! Syncs, power cuts, and the removal of unreachable files.

use std::collections::HashSet;

use nix::errno::Errno;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    super::power_cut::{Durability, Loss, Lost},
    Change, Inode, Model, Node, ROOT, Result,
};

impl Model {
    /// Makes a file or a folder durable. With `only_data` (`fdatasync`), only the data that is needed to read
    /// the bytes back becomes durable.
    pub fn sync(&mut self, ino: u64, only_data: bool) -> Result<()> {
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
                        // The folder may have been removed.
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

    /// Cuts the power. The durable state and the unsynced data that `loss` leaves become the current state.
    pub fn cut(&mut self, loss: Loss) -> Lost {
        let mut rng = match loss {
            Loss::Everything => None,
            Loss::Some(seed) => Some(StdRng::seed_from_u64(seed)),
        };
        let mut removed = Lost::default();
        let pending = std::mem::take(&mut self.pending);
        let all = pending.len();
        let survivors: Vec<_> = match (&mut rng, self.durability) {
            (None, _) => Vec::new(),
            (Some(rng), Durability::Journaled) => {
                pending.into_iter().take(rng.random_range(0..=all)).collect()
            }
            (Some(rng), Durability::Strict) => pending.into_iter().filter(|_| rng.random_bool(0.5)).collect(),
        };
        removed.changes = all - survivors.len();
        self.commit(survivors);
        let mut inodes: Vec<_> = self.inodes.iter_mut().collect();
        inodes.sort_unstable_by_key(|(ino, _)| **ino); // Otherwise the hasher would determine the result.
        for (_, inode) in inodes {
            inode.lookups = 0;
            match &mut inode.node {
                Node::File(file) => {
                    removed.pages += match &mut rng {
                        Some(rng) => file.medium.survive(&file.live, rng),
                        None => file.live.unsynced(),
                    };
                    file.live = file.medium.synced();
                }
                Node::Folder(folder) => folder.live = folder.medium.clone(),
            }
        }
        self.sweep();
        removed
    }

    /// Frees inodes that no current or durable name refers to and the kernel does not hold.
    pub(super) fn sweep(&mut self) {
        self.removed = 0;
        let (mut kept, mut to_visit) = (HashSet::new(), vec![ROOT]);
        to_visit.extend(self.inodes.iter().filter(|(_, inode)| inode.lookups > 0).map(|(ino, _)| *ino));
        for change in &self.pending {
            if let Change::Names(names) = change {
                to_visit.extend(names.iter().flat_map(|(folder, _, to)| [Some(*folder), *to]).flatten());
            }
        }
        while let Some(ino) = to_visit.pop() {
            if let Some(Inode { node: Node::Folder(folder), .. }) = self.inodes.get(&ino)
                && !kept.contains(&ino)
            {
                to_visit.extend(folder.live.values().chain(folder.medium.values()));
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
}
