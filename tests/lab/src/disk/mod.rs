//! A simulated disk. On command it loses its unsynced data, as a real disk does in a power cut. It can also be
//! slow or full.
//!
//! It is a FUSE file system (`layer`) over a file system in memory (`model`). The model has two states: the
//! current one and the durable one. Bytes become durable by `fsync` or `fdatasync` of their file, or by a write to
//! a descriptor with `O_SYNC` or `O_DSYNC`. `close` makes nothing durable, as on a real disk. `sync_file_range`,
//! `sync`, `syncfs` and unmounting make nothing durable here, because the kernel sends no request for them.
//! [`Durability`] says what a sync does for names and sizes; [`Loss`] says how much unsynced data a power cut
//! removes. Changes of modes and times are durable at once, which a real disk does not promise.
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
