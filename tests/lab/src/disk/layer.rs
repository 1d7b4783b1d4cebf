//! Translates requests of the kernel to the model, one at a time, and applies delays and power loss.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::fcntl::OFlag;

use super::{
    content::PAGE,
    model::{Attributes, Model},
};

/// Time for which the kernel may cache attributes. Only the kernel changes them, so any time is correct.
const TTL: Duration = Duration::from_mins(1);

/// The content of the disk, its power and its delay.
#[derive(Debug)]
pub(super) struct Medium {
    model: Mutex<Model>,
    /// Whether the power is off: every request fails with EIO.
    pub off: AtomicBool,
    /// Delay of a sync, in microseconds.
    pub slow: AtomicU64,
}

impl Medium {
    pub fn new(model: Model) -> Self {
        Self { model: Mutex::new(model), off: AtomicBool::new(false), slow: AtomicU64::new(0) }
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Open folders with their entries at the time of opening.
#[derive(Debug, Default)]
struct Listings {
    last: u64,
    open: HashMap<u64, Vec<(OsString, Attributes)>>,
}

/// One mount of a disk.
pub(super) struct Layer {
    medium: Arc<Medium>,
    listings: Mutex<Listings>,
}

impl Layer {
    pub fn new(medium: Arc<Medium>) -> Self {
        Self { medium, listings: Mutex::default() }
    }

    /// Runs `question` on the model. Fails with EIO if the power is off.
    fn ask<T>(&self, question: impl FnOnce(&mut Model) -> Result<T, nix::errno::Errno>) -> Result<T, Errno> {
        let mut model = self.medium.model();
        if self.medium.off.load(Ordering::Relaxed) {
            return Err(Errno::EIO);
        }
        question(&mut model).map_err(|error| Errno::from_i32(error as i32))
    }

    /// Waits for the delay of a sync.
    fn delay_sync(&self) {
        let slow = self.medium.slow.load(Ordering::Relaxed);
        if slow > 0 {
            std::thread::sleep(Duration::from_micros(slow));
        }
    }

    fn listings(&self) -> MutexGuard<'_, Listings> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> SystemTime {
    jiff::Timestamp::now().into()
}

fn kind(attributes: &Attributes) -> FileType {
    if attributes.is_folder { FileType::Directory } else { FileType::RegularFile }
}

fn attr(attributes: &Attributes) -> FileAttr {
    let Attributes { ino, size, mode, changed, .. } = *attributes;
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: changed,
        mtime: changed,
        ctime: changed,
        crtime: changed,
        kind: kind(attributes),
        perm: mode,
        nlink: 1,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("twelve bits")
}

fn done(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(reply: ReplyEntry, outcome: Result<Attributes, Errno>) {
    match outcome {
        Ok(found) => reply.entry(&TTL, &attr(&found), Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Layer {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.ask(|model| model.lookup(parent.0, name)));
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.medium.model().forget(ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.ask(|model| model.attributes(ino.0)) {
            Ok(found) => reply.attr(&TTL, &attr(&found)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let outcome = self.ask(|model| {
            if let Some(mode) = mode {
                model.change_mode(ino.0, permissions(mode))?;
            }
            if let Some(size) = size {
                model.resize(ino.0, size, now())?;
            }
            model.attributes(ino.0)
        });
        match outcome {
            Ok(found) => reply.attr(&TTL, &attr(&found)),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let mode = permissions(mode & !umask);
        entry(reply, self.ask(|model| model.create((parent.0, name), true, mode, now())));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mode = permissions(mode & !umask);
        match self.ask(|model| model.create((parent.0, name), false, mode, now())) {
            Ok(new) => {
                reply.created(&TTL, &attr(&new), Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.ask(|model| model.remove(parent.0, name, false)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.ask(|model| model.remove(parent.0, name, true)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let may_replace = match flags {
            RenameFlags::RENAME_NOREPLACE => false,
            flags if flags.is_empty() => true,
            _ => return reply.error(Errno::EINVAL),
        };
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        done(reply, self.ask(|model| model.rename(from, to, may_replace)));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // The kernel's cache stays correct, because every change passes through the kernel.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.ask(|model| model.read(ino.0, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let flags = OFlag::from_bits_retain(flags.0);
        if flags.intersects(OFlag::O_SYNC) {
            self.delay_sync();
        }
        let outcome = self.ask(|model| {
            model.write(ino.0, offset, data, now())?;
            if flags.contains(OFlag::O_SYNC) {
                model.sync(ino.0, false)?;
            } else if flags.contains(OFlag::O_DSYNC) {
                model.sync(ino.0, true)?;
            }
            Ok(())
        });
        match outcome {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("the kernel counts in 32 bits")),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok(); // Closing a file makes nothing durable.
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, only_data: bool, reply: ReplyEmpty) {
        self.delay_sync();
        done(reply, self.ask(|model| model.sync(ino.0, only_data)));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.ask(|model| model.entries(ino.0)) {
            Ok(entries) => {
                let mut listings = self.listings();
                listings.last += 1;
                let handle = listings.last;
                listings.open.insert(handle, entries);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listings = self.listings();
        let entries = listings.open.get(&handle.0).map(Vec::as_slice).unwrap_or_default();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (name, found)) in (1..).zip(entries).skip(begin) {
            if reply.add(INodeNo(found.ino), next, kind(found), name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings().open.remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, only_data: bool, reply: ReplyEmpty) {
        self.delay_sync();
        done(reply, self.ask(|model| model.sync(ino.0, only_data)));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (all, free) = {
            let model = self.medium.model();
            (model.capacity, model.free() / PAGE as u64)
        };
        let page = u32::try_from(PAGE).expect("a small constant");
        reply.statfs(all, free, free, 1_000_000, 1_000_000, page, 255, page);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let outcome = self.ask(|model| {
            let size = model.attributes(ino.0)?.size.max(offset + length);
            model.resize(ino.0, size, now())
        });
        done(reply, outcome);
    }
}
