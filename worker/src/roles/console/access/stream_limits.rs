//! Limits for open event streams: per viewer and per source.
//!
//! Invariant: a stream is no longer counted once it has ended, for whatever reason.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{auth::Caller, backoff::Source, session::Session};

/// Most streams of one session, of one named user, or of the tools of one source. Pages in background tabs close their
/// streams.
const MAX_PER_VIEWER: usize = 16;
/// Most streams of one source: half of the connections that the console accepts. A proxy is one source.
const MAX_PER_SOURCE: usize = 1024;

/// The holder of streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Session(Session),
    Named(Arc<str>),
    Tools(IpAddr),
    Source(IpAddr),
}

/// Counts the open streams. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StreamLimits(Arc<Mutex<HashMap<Holder, usize>>>);

impl StreamLimits {
    /// A permit for one more stream; dropping it ends the count.
    pub fn acquire(&self, caller: &Caller, source: &Source) -> Result<StreamPermit, TooManyStreams> {
        let peer = source.peer();
        let viewer = match caller {
            Caller::Session(session) => Holder::Session(*session),
            Caller::Named(name) => Holder::Named(name.clone()),
            Caller::Basic | Caller::Bearer => Holder::Tools(peer),
        };
        let source = Holder::Source(peer);
        let mut open = self.lock();
        let held = |holder: &Holder| open.get(holder).copied().unwrap_or_default();
        if held(&viewer) >= MAX_PER_VIEWER {
            return Err(TooManyStreams::OfViewer);
        }
        if held(&source) >= MAX_PER_SOURCE {
            return Err(TooManyStreams::OfSource);
        }
        let holders = [viewer, source];
        for holder in &holders {
            *open.entry(holder.clone()).or_default() += 1;
        }
        Ok(StreamPermit { limits: self.clone(), holders })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a stream is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyStreams {
    /// The viewer has too many.
    #[error("{MAX_PER_VIEWER} pages of this login have live updates already; close one of them")]
    OfViewer,
    /// All viewers behind one address have too many.
    #[error("{MAX_PER_SOURCE} pages of this address have live updates already; close one of them")]
    OfSource,
}

/// The permit of one open stream.
#[derive(Debug)]
pub struct StreamPermit {
    limits: StreamLimits,
    holders: [Holder; 2],
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.limits.lock();
        for holder in &self.holders {
            if let Some(held) = open.get_mut(holder) {
                *held -= 1;
                if *held == 0 {
                    open.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    #[test]
    fn a_viewer_at_its_limit_can_open_a_stream_after_one_has_ended() {
        let limits = StreamLimits::default();
        let source = |n: u8| Source::new([192, 0, 2, n].into(), &HeaderMap::new());
        let mut held: Vec<_> =
            (0..MAX_PER_VIEWER).map(|_| limits.acquire(&Caller::Bearer, &source(1)).unwrap()).collect();
        assert_eq!(limits.acquire(&Caller::Basic, &source(1)).unwrap_err(), TooManyStreams::OfViewer);
        held.push(limits.acquire(&Caller::Bearer, &source(2)).expect("another source"));
        held.push(limits.acquire(&Caller::Session(Session::of_test(1)), &source(1)).expect("a session"));
        held.push(limits.acquire(&Caller::Named("ana".into()), &source(1)).expect("a named user"));
        held.swap_remove(0);
        held.push(limits.acquire(&Caller::Basic, &source(1)).expect("one stream has ended"));
        drop(held);
        assert!(limits.lock().is_empty(), "streams that have ended are not counted");
    }

    #[test]
    fn sessions_of_one_source_do_not_use_up_the_streams_of_other_sources() {
        let limits = StreamLimits::default();
        let source = |n: u8| Source::new([192, 0, 2, n].into(), &HeaderMap::new());
        let sessions = (0..).map(|n| Caller::Session(Session::of_test(n / MAX_PER_VIEWER as u64)));
        let held: Vec<_> = sessions
            .take(MAX_PER_SOURCE + 1)
            .map_while(|session| limits.acquire(&session, &source(1)).ok())
            .collect();
        assert_eq!(held.len(), MAX_PER_SOURCE);
        let of = |session, n| limits.acquire(&Caller::Session(Session::of_test(session)), &source(n)).err();
        assert_eq!(of(0, 2), Some(TooManyStreams::OfViewer), "this session has 16 already");
        assert_eq!(of(9999, 1), Some(TooManyStreams::OfSource));
        assert_eq!(of(9999, 2), None);
    }
}
