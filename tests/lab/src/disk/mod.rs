//! A disk that loses unsynced data on command, as a power cut does. It can also be slow or full.
//!
//! It is a FUSE file system (`layer`) over a file system in memory (`model`), which keeps the durable state
//! beside the current one. Bytes become durable by `fsync` or `fdatasync` of their file, or by a write to a
//! descriptor with `O_SYNC` or `O_DSYNC`. `close`, `sync_file_range`, `sync`, `syncfs` and unmounting make
//! nothing durable, because the kernel sends no request for them. [`Durability`] says what a sync does for
//! names and sizes; [`Loss`] says how much unsynced data a power cut removes. A power cut does not change
//! modes and times.
//!
//! `fuser` mounts by itself as root, and by `fusermount3` otherwise.

mod content;
mod layer;
mod model;
mod mount;
mod power_cut;

pub use self::{
    mount::Disk,
    power_cut::{Durability, Loss, Lost},
};

#[cfg(test)]
mod tests;
