//! The data that a sync makes durable, and the data that a power cut removes.

/// The syncs that make names, sizes and removals durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// As ext4 and XFS do: changes of names and truncations form one ordered log, and any sync commits the
    /// log so far. Bytes are durable only if their own file was synced, so a file may have its name and be
    /// empty.
    #[default]
    Journaled,
    /// The minimum that POSIX demands: a name is durable once its folder was synced.
    Strict,
}

/// The unsynced data that a power cut removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All unsynced data.
    Everything,
    /// A random part of the unsynced data, determined by this seed. Of each page, nothing, all bytes or the
    /// first sectors survive. Of the changes of names, the first ones survive with [`Durability::Journaled`],
    /// and any of them with [`Durability::Strict`].
    Some(u64),
}

/// Amount of data that a power cut removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Unsynced pages.
    pub pages: usize,
    /// Unsynced creations, renames, removals and truncations.
    pub changes: usize,
}
