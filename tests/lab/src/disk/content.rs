//! The bytes of a file, in pages. Holes cost no memory, and copies share pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::{Rng, RngExt as _};

/// Bytes of a page, the unit in which a kernel writes back.
pub(super) const PAGE: usize = 4096;
/// Bytes of a sector, which a medium writes atomically.
const SECTOR: usize = 512;

/// The bytes of a file, and the pages that changed since the last sync.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    size: u64,
    unsynced: BTreeSet<u64>,
}

/// Splits `length` bytes from `offset` on by pages: page, offset in the page, length.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let page = at / PAGE as u64;
        let place = usize::try_from(at % PAGE as u64).expect("below PAGE");
        let length = (PAGE - place).min(usize::try_from(end - at).unwrap_or(PAGE));
        at += length as u64;
        (length > 0).then_some((page, place, length))
    })
}

impl Content {
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Number of unsynced pages.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Up to `length` bytes from `offset` on.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let available = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        let mut bytes = Vec::with_capacity(available);
        for (page, place, length) in pieces(offset, available) {
            match self.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[place..place + length]),
                None => bytes.resize(bytes.len() + length, 0),
            }
        }
        bytes
    }

    /// Number of pages that a write at `offset` would add.
    pub fn missing(&self, offset: u64, length: usize) -> u64 {
        pieces(offset, length).filter(|(page, ..)| !self.pages.contains_key(page)).count() as u64
    }

    pub fn write(&mut self, offset: u64, mut data: &[u8]) {
        self.size = self.size.max(offset + data.len() as u64);
        for (page, place, length) in pieces(offset, data.len()) {
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[place..place + length].copy_from_slice(&data[..length]);
            self.unsynced.insert(page);
            data = &data[length..];
        }
    }

    /// Truncates the content or extends it by a hole. Returns the number of pages removed.
    pub fn resize(&mut self, size: u64) -> u64 {
        let gone = self.pages.split_off(&size.div_ceil(PAGE as u64));
        self.unsynced.extend(gone.keys());
        let rest = usize::try_from(size % PAGE as u64).expect("below PAGE");
        if let Some(last) = self.pages.get_mut(&(size / PAGE as u64))
            && size < self.size
        {
            Arc::make_mut(last)[rest..].fill(0);
            self.unsynced.insert(size / PAGE as u64);
        }
        self.size = size;
        gone.len() as u64
    }

    /// Makes this content a copy of `other`. Both then count as synced.
    pub fn take_over(&mut self, other: &mut Self) {
        self.resize(other.size);
        for page in std::mem::take(&mut other.unsynced) {
            match other.pages.get(&page) {
                Some(bytes) => self.pages.insert(page, bytes.clone()),
                None => self.pages.remove(&page),
            };
        }
        self.unsynced.clear();
    }

    /// A copy that counts as synced.
    pub fn synced(&self) -> Self {
        Self { unsynced: BTreeSet::new(), ..self.clone() }
    }

    /// Copies a random part of the unsynced pages of `other`. Returns the number of pages that are lost
    /// wholly or partly.
    pub fn survive(&mut self, other: &Self, rng: &mut impl Rng) -> usize {
        let mut lost = 0;
        for page in &other.unsynced {
            let kept = match rng.random_range(0..3) {
                0 => 0,
                1 => PAGE,
                _ => SECTOR * rng.random_range(0..PAGE / SECTOR),
            };
            lost += usize::from(kept < PAGE);
            if let Some(bytes) = other.pages.get(page)
                && kept > 0
            {
                let ours = self.pages.entry(*page).or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(ours)[..kept].copy_from_slice(&bytes[..kept]);
                self.size = self.size.max(other.size.min(page * PAGE as u64 + kept as u64));
            }
        }
        self.unsynced.clear();
        lost
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    /// Compares random operations with the same operations on a vector.
    #[test]
    fn random_operations_match_a_vector() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut content, mut plain) = (Content::default(), Vec::new());
        for n in 0..3000 {
            let (offset, length) = (rng.random_range(0..20_000_usize), rng.random_range(0..9_000));
            if rng.random_bool(0.1) {
                content.resize(offset as u64);
                plain.resize(offset, 0);
            } else {
                let data: Vec<u8> = (0..length).map(|_| rng.random_range(1..=255)).collect();
                content.write(offset as u64, &data);
                plain.resize(plain.len().max(offset + length), 0);
                plain[offset..offset + length].copy_from_slice(&data);
            }
            assert_eq!(content.size(), plain.len() as u64, "step {n}");
            let there = plain.get(offset..).unwrap_or_default();
            assert_eq!(content.read(offset as u64, length), there[..there.len().min(length)], "step {n}");
        }
        let mut medium = Content::default();
        medium.take_over(&mut content);
        assert_eq!((medium.read(0, plain.len()), content.unsynced()), (plain, 0));
    }
}
