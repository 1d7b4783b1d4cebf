//! The sessions that a logout has ended, in memory. Pure: the time is an argument.
//!
//! A session is a signed cookie. Without this list, a copy of the cookie would work after the logout. The list is neither
//! stored nor shared: another process, and this one after a restart, accept the cookie until it expires.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::session::{LIFETIME, Session};

/// Most sessions that are remembered. At the limit, the one that ended first is forgotten.
const MAX_SESSIONS: usize = 10_000;

/// The ended sessions, each with the time of its logout.
#[derive(Debug, Default)]
pub struct EndedSessions(Mutex<HashMap<Session, Instant>>);

impl EndedSessions {
    /// Adds a session that ended at `now`.
    pub fn add(&self, session: Session, now: Instant) {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The cookie of a session that ended longer ago has expired.
        ended.retain(|_, at| now.saturating_duration_since(*at) < LIFETIME);
        if ended.len() >= MAX_SESSIONS
            && let Some(first) = ended.iter().min_by_key(|(_, at)| **at).map(|(session, _)| *session)
        {
            ended.remove(&first);
        }
        ended.insert(session, now);
    }

    /// Whether `session` has ended.
    pub fn contains(&self, session: Session) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&session)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_ended_session_is_remembered_for_its_lifetime_and_their_number_is_bounded() {
        let (ended, start) = (EndedSessions::default(), Instant::now());
        let second = Duration::from_secs(1);
        ended.add(Session::of_test(0), start);
        for n in 1..MAX_SESSIONS as u64 {
            ended.add(Session::of_test(n), start + second);
        }
        assert!(ended.contains(Session::of_test(0)) && !ended.contains(Session::of_test(u64::MAX)));
        ended.add(Session::of_test(u64::MAX), start + second);
        assert!(!ended.contains(Session::of_test(0)) && ended.contains(Session::of_test(1)));
        ended.add(Session::of_test(0), start + LIFETIME);
        assert!(ended.contains(Session::of_test(1)), "its cookie has not expired yet");
        ended.add(Session::of_test(0), start + second + LIFETIME);
        assert!(!ended.contains(Session::of_test(1)), "its cookie has expired");
    }
}
