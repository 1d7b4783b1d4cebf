//! How many event streams one viewer, and one source, may hold open.
//!
//! Invariant: a stream is counted out when it ends, however it ends.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{auth::Caller, backoff::Source, session::Session};

/// Most streams of one session, or of the tools of one source. Pages in tabs that nobody sees hold none.
pub const MOST_OF_VIEWER: usize = 16;
/// Most streams of one source, whoever holds them: half of what the console takes. A proxy is one source.
const MOST_OF_SOURCE: usize = 1024;

/// Who holds streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Session(Session),
    Tools(IpAddr),
    Source(IpAddr),
}

/// The streams that are open. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<HashMap<Holder, usize>>>);

impl Streams {
    /// A place for one more stream, given back when dropped. `None`: the viewer has enough.
    pub fn open(&self, caller: Caller, source: &Source) -> Option<Place> {
        let peer = source.peer();
        let viewer = match caller {
            Caller::Session(session) => Holder::Session(session),
            Caller::Basic | Caller::Bearer => Holder::Tools(peer),
        };
        let holders = [(viewer, MOST_OF_VIEWER), (Holder::Source(peer), MOST_OF_SOURCE)];
        let mut open = self.lock();
        if holders.iter().any(|(holder, most)| open.get(holder).is_some_and(|held| held >= most)) {
            return None;
        }
        for (holder, _) in holders {
            *open.entry(holder).or_default() += 1;
        }
        Some(Place { streams: self.clone(), holders: holders.map(|(holder, _)| holder) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one stream.
#[derive(Debug)]
pub struct Place {
    streams: Streams,
    holders: [Holder; 2],
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        for holder in self.holders {
            if let Some(held) = open.get_mut(&holder) {
                *held -= 1;
                if *held == 0 {
                    open.remove(&holder);
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
    fn one_viewer_leaves_room_for_the_others_and_gets_its_places_back() {
        let streams = Streams::default();
        let source = |n: u8| Source::new([192, 0, 2, n].into(), &HeaderMap::new());
        let mut held: Vec<_> =
            (0..MOST_OF_VIEWER).map(|_| streams.open(Caller::Bearer, &source(1)).unwrap()).collect();
        assert!(streams.open(Caller::Basic, &source(1)).is_none());
        held.push(streams.open(Caller::Bearer, &source(2)).expect("another source"));
        held.push(streams.open(Caller::Session(Session::of_test(1)), &source(1)).expect("a session"));
        held.swap_remove(0);
        held.push(streams.open(Caller::Basic, &source(1)).expect("a place is free again"));
        drop(held);
        assert!(streams.lock().is_empty(), "nothing is remembered of streams that have ended");
    }

    #[test]
    fn many_sessions_of_one_source_leave_room_for_other_sources() {
        let streams = Streams::default();
        let source = |n: u8| Source::new([192, 0, 2, n].into(), &HeaderMap::new());
        let sessions = (0..).map(|n| Caller::Session(Session::of_test(n / MOST_OF_VIEWER as u64)));
        let held: Vec<_> = sessions
            .take(MOST_OF_SOURCE + 1)
            .map_while(|session| streams.open(session, &source(1)))
            .collect();
        assert_eq!(held.len(), MOST_OF_SOURCE);
        assert!(streams.open(Caller::Session(Session::of_test(0)), &source(2)).is_none(), "it has 16");
        assert!(streams.open(Caller::Session(Session::of_test(9999)), &source(2)).is_some());
    }
}
