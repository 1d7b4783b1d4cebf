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
pub const MAX_PER_VIEWER: usize = 16;
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
    /// A permit for one more stream; dropping it ends the count. `None`: a limit is reached.
    pub fn acquire(&self, caller: &Caller, source: &Source) -> Option<StreamPermit> {
        let peer = source.peer();
        let viewer = match caller {
            Caller::Session(session) => Holder::Session(*session),
            Caller::Named(name) => Holder::Named(name.clone()),
            Caller::Basic | Caller::Bearer => Holder::Tools(peer),
        };
        let holders = [(viewer, MAX_PER_VIEWER), (Holder::Source(peer), MAX_PER_SOURCE)];
        let mut open = self.lock();
        if holders.iter().any(|(holder, max)| open.get(holder).is_some_and(|held| held >= max)) {
            return None;
        }
        for (holder, _) in &holders {
            *open.entry(holder.clone()).or_default() += 1;
        }
        Some(StreamPermit { limits: self.clone(), holders: holders.map(|(holder, _)| holder) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        assert!(limits.acquire(&Caller::Basic, &source(1)).is_none());
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
            .map_while(|session| limits.acquire(&session, &source(1)))
            .collect();
        assert_eq!(held.len(), MAX_PER_SOURCE);
        assert!(
            limits.acquire(&Caller::Session(Session::of_test(0)), &source(2)).is_none(),
            "this session has 16 already"
        );
        assert!(limits.acquire(&Caller::Session(Session::of_test(9999)), &source(2)).is_some());
    }
}
