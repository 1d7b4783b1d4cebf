//! Budgets: how many bytes of bodies the gateway holds at one time.
//!
//! Invariant: each [`Trust`] has a budget of its own, so unverified senders cannot use up the provider's bytes. With
//! `SOURCE_POLICY=observe`, they count as the provider.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::readers::{Candidates, Readers};

/// Bytes are reserved in units of this size, because a semaphore counts no further than 2^29 on 32-bit
/// systems.
pub(super) const UNIT: usize = 1024;
/// Time for displaced bodies to release their bytes.
const DISPLACED_WITHIN: Duration = Duration::from_millis(500);
/// Most attempts of one body to displace others. One is enough, unless another body takes the bytes at the same time.
const MAX_DISPLACEMENTS: usize = 4;

/// What the gateway knows about the sender of a body before it reads the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The headers passed the checks: the address is allowed, and a required signature header is well formed and in time;
    /// or the sender has one of `EVENTS_TOKEN`. With `SOURCE_POLICY=observe`, any sender.
    Provider,
    /// Any address, with a well-formed signature header: callbacks of Twilio, which has no fixed addresses.
    Unverified,
    /// An address that is not listed. The body is read only to find out whether the sender is the provider at
    /// a new address.
    Unlisted,
    /// A caller of the API, which was authorized by its headers.
    Api,
}

/// Bytes of all bodies of unverified senders together: 64 bodies of the largest size. 1 KiB is usual.
const UNVERIFIED_BYTES: usize = 4 * 1024 * 1024;
/// Bodies of unverified senders that are read at one time. A bound of its own, because a stalled body holds few bytes, but
/// a whole connection.
const UNVERIFIED_BODIES: usize = 512;
/// Bytes of all bodies of unlisted senders together.
const UNLISTED_BYTES: usize = 1024 * 1024;
/// Bodies of unlisted senders that are read at one time.
const UNLISTED_BODIES: usize = 64;
/// Bytes of all bodies of API callers together.
const API_BYTES: usize = 4 * 1024 * 1024;

/// One [`Budget`] for each [`Trust`].
#[derive(Clone, Debug)]
pub struct Budgets {
    provider: Budget,
    unverified: Budget,
    unlisted: Budget,
    api: Budget,
}

impl Budgets {
    /// `provider` bytes for providers, and small fixed budgets for the others. The gauge `held` shows the
    /// bytes of all budgets together.
    pub fn new(provider: usize, held: &Gauge) -> Self {
        Self {
            provider: Budget::with_overtime(provider, held.clone()),
            unverified: Budget::displacing(UNVERIFIED_BYTES, UNVERIFIED_BODIES, held.clone()),
            unlisted: Budget::displacing(UNLISTED_BYTES, UNLISTED_BODIES, held.clone()),
            api: Budget::new(API_BYTES, held.clone()),
        }
    }

    /// The budget for bodies of senders with this `trust`.
    pub fn of(&self, trust: Trust) -> &Budget {
        match trust {
            Trust::Provider => &self.provider,
            Trust::Unverified => &self.unverified,
            Trust::Unlisted => &self.unlisted,
            Trust::Api => &self.api,
        }
    }
}

/// The bytes that bodies of one trust may hold together.
#[derive(Clone, Debug)]
pub struct Budget {
    pub(super) units: Arc<Semaphore>,
    /// The bodies that are being read, for a budget in which a new body displaces the oldest one. `None`:
    /// the new body is refused.
    pub(super) readers: Option<Arc<Readers>>,
    /// The bodies beyond their regular time, for a budget that gives overtime.
    pub(super) overtime: Option<Arc<Readers>>,
    pub(super) held: Gauge,
}

impl Budget {
    /// A budget of `bytes`, rounded up to whole units. The gauge `held` shows the reserved bytes.
    pub fn new(bytes: usize, held: Gauge) -> Self {
        let units = Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS)));
        Self { units, readers: None, overtime: None, held }
    }

    /// A budget in which a body may take longer than its regular time, while it keeps a minimum rate. A body
    /// within its regular time displaces such a body if the bytes do not suffice, so a slow sender withholds
    /// bytes from the others no longer than the regular time.
    pub fn with_overtime(bytes: usize, held: Gauge) -> Self {
        Self { overtime: Some(Arc::new(Readers::new(usize::MAX))), ..Self::new(bytes, held) }
    }

    /// A budget from which at most `max_bodies` bodies are read at one time. A body beyond that, or beyond
    /// `bytes`, displaces the body that has been read for longest. So stalled bodies do not block a
    /// complete one.
    pub fn displacing(bytes: usize, max_bodies: usize, held: Gauge) -> Self {
        Self { readers: Some(Arc::new(Readers::new(max_bodies))), ..Self::new(bytes, held) }
    }

    /// A reservation of no bytes.
    pub(crate) fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), permit: None }
    }
}

/// The bytes that one body has reserved. Dropping it releases them.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// The reserved units.
    pub(super) fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Raises the reservation to `bytes`. False: the budget does not have them.
    pub(crate) fn raise_to(&mut self, bytes: usize) -> bool {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units());
        if more == 0 {
            return true;
        }
        let reserved = u32::try_from(more)
            .ok()
            .and_then(|more| self.budget.units.clone().try_acquire_many_owned(more).ok());
        reserved.map(|reserved| self.add(reserved)).is_some()
    }

    /// Raises the reservation to `bytes`. For this, displaces as many `candidates` as needed. False: they do not
    /// hold enough bytes, or others took the bytes.
    pub(super) async fn displace_to(&mut self, bytes: usize, candidates: Candidates<'_>) -> bool {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units());
        let Ok(permits) = u32::try_from(more) else { return false };
        for _ in 0..MAX_DISPLACEMENTS {
            let missing = more.saturating_sub(self.budget.units.available_permits());
            if !candidates.displace(missing) {
                return false;
            }
            let reserved = self.budget.units.clone().acquire_many_owned(permits);
            if let Ok(Ok(reserved)) = tokio::time::timeout(DISPLACED_WITHIN, reserved).await {
                self.add(reserved);
                return true;
            }
        }
        false
    }

    fn add(&mut self, reserved: OwnedSemaphorePermit) {
        self.budget.held.inc_by(bytes_of(reserved.num_permits()));
        match &mut self.permit {
            Some(permit) => permit.merge(reserved),
            None => self.permit = Some(reserved),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.held.dec_by(bytes_of(self.units()));
    }
}

fn bytes_of(units: usize) -> i64 {
    i64::try_from(units * UNIT).unwrap_or(i64::MAX)
}
