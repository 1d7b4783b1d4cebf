//! Slows down wrong logins, source by source. Pure: the time is an argument.
//!
//! Invariants:
//! - A source waits a minute at most, and a quarter of an hour after its last wrong login it is forgotten.
//! - Requests with a session are not counted here, so a browser that is logged in is never delayed.
//! - At most [`SOURCES`] are remembered.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use aftercall_common::http::{SourceLog, source_of};
use axum::http::HeaderMap;

/// Wrong logins of one client after which it has to wait.
const FREE: u32 = 5;
/// The same of a proxy, which speaks for many clients.
const FREE_OF_PROXY: u32 = 50;
/// Time after which a proxy is forgiven one wrong login: one client, which waits a minute between two of its
/// own, must not keep out the others.
const PARDON_EVERY: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(1);
const FORGOTTEN_AFTER: Duration = Duration::from_mins(15);
/// Most sources remembered; for a further one, the one whose last wrong login is oldest is forgotten.
const SOURCES: usize = 4096;
/// Longest name of a client that a proxy gives.
const MAX_NAME: usize = 64;

/// Where a login comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The peer; of IPv6 the /64, because who has one of its addresses has all.
    peer: IpAddr,
    /// The client that the peer names as the one it heard, if the peer is a proxy; empty for all of its
    /// clients together.
    client: Option<String>,
}

impl Source {
    /// The source of a request of `peer`.
    ///
    /// The last entry of `X-Forwarded-For` is what the nearest proxy saw. A peer that is no proxy may write
    /// anything there, and so has a limit of its own besides.
    pub fn new(peer: IpAddr, headers: &HeaderMap) -> Self {
        let peer = source_of(peer);
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
        let client = forwarded.and_then(|value| value.to_str().ok()).and_then(|list| list.rsplit(',').next());
        let client = client.map(|client| {
            let client = client.trim();
            match client.parse() {
                Ok(address) => source_of(address).to_string(),
                Err(_) => client.chars().take(MAX_NAME).collect::<String>(),
            }
        });
        Self { peer, client: client.filter(|client| !client.is_empty()) }
    }

    /// The address of the peer.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The keys under which it is counted, and the wrong logins that cost nothing.
    fn keys(&self) -> impl Iterator<Item = (Self, u32)> {
        let proxy = Self { peer: self.peer, client: Some(String::new()) };
        let proxy = self.client.is_some().then_some((proxy, FREE_OF_PROXY));
        std::iter::once((self.clone(), FREE)).chain(proxy)
    }
}

/// What is remembered of a source.
#[derive(Clone, Copy, Debug)]
struct Record {
    wrong: u32,
    last: Instant,
    until: Instant,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was right.
    Right,
    /// It was wrong. Whether it is to be logged, and how many came since the last log line.
    Wrong { log: Option<u64> },
    /// It was not looked at. The source has to wait that long.
    TooEarly(Duration),
}

/// The wrong logins of all sources.
#[derive(Debug)]
pub struct Attempts {
    sources: HashMap<Source, Record>,
    log: SourceLog,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { sources: HashMap::new(), log: SourceLog::new(SOURCES) }
    }
}

impl Attempts {
    /// Lets `source` try at `now`, if it does not have to wait.
    pub fn attempt(&mut self, source: &Source, now: Instant, is_right: impl FnOnce() -> bool) -> Attempt {
        let wait = source
            .keys()
            .filter_map(|(key, _)| self.sources.get(&key))
            .map(|record| record.until.saturating_duration_since(now));
        if let Some(wait) = wait.max()
            && !wait.is_zero()
        {
            return Attempt::TooEarly(wait);
        }
        if is_right() {
            // A proxy's own count goes by time alone: one right login says nothing about its other clients.
            if let Some((key, _)) = source.keys().next() {
                self.sources.remove(&key);
            }
            return Attempt::Right;
        }
        self.make_room(now);
        for (key, free) in source.keys() {
            let is_proxy = free == FREE_OF_PROXY;
            let record = self.sources.entry(key).or_insert(Record { wrong: 0, last: now, until: now });
            if is_proxy {
                let passed = now.saturating_duration_since(record.last).as_secs() / PARDON_EVERY.as_secs();
                record.wrong = record.wrong.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            }
            record.wrong = record.wrong.saturating_add(1);
            record.last = now;
            record.until = now + wait_after(record.wrong, free);
        }
        Attempt::Wrong { log: self.log.line(source.peer, now) }
    }

    fn make_room(&mut self, now: Instant) {
        self.sources.retain(|_, record| now.saturating_duration_since(record.last) < FORGOTTEN_AFTER);
        while self.sources.len() + 2 > SOURCES {
            let oldest =
                self.sources.iter().min_by_key(|(_, record)| record.last).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.sources.remove(&oldest);
        }
    }
}

/// How long a source waits after `wrong` wrong logins, of which `free` cost nothing.
fn wait_after(wrong: u32, free: u32) -> Duration {
    match wrong.checked_sub(free) {
        Some(over) => Duration::from_secs(1 << over.min(6)).min(LONGEST),
        None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str, forwarded: Option<&str>) -> Source {
        let mut headers = HeaderMap::new();
        forwarded.map(|list| headers.insert("x-forwarded-for", list.parse().unwrap()));
        Source::new(peer.parse().unwrap(), &headers)
    }

    fn wrong(attempts: &mut Attempts, source: &Source, now: Instant) -> Attempt {
        attempts.attempt(source, now, || false)
    }

    #[test]
    fn a_source_waits_longer_with_each_wrong_login_and_a_minute_at_most() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        let (one, other) = (source("192.0.2.1", None), source("192.0.2.2", None));
        for _ in 0..FREE {
            assert!(matches!(wrong(&mut attempts, &one, now), Attempt::Wrong { .. }));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(attempts.attempt(&one, now, || true), Attempt::TooEarly(wait), "not even looked at");
            assert_eq!(attempts.attempt(&other, now, || true), Attempt::Right);
            now += wait;
            assert!(matches!(wrong(&mut attempts, &one, now), Attempt::Wrong { .. }), "after {seconds} s");
        }
        now += LONGEST;
        assert_eq!(attempts.attempt(&one, now, || true), Attempt::Right);
        assert!(attempts.sources.is_empty(), "forgotten after a right one");
    }

    #[test]
    fn one_patient_client_of_a_proxy_does_not_keep_out_the_others() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        let (patient, other) = (source("10.0.0.1", Some("192.0.2.1")), source("10.0.0.1", Some("192.0.2.2")));
        for minute in 0..120 {
            wrong(&mut attempts, &patient, now);
            assert_eq!(attempts.attempt(&other, now, || true), Attempt::Right, "minute {minute}");
            now += LONGEST;
        }
        let networks =
            [source("10.0.0.1", Some("2001:db8::1")), source("10.0.0.1", Some("2001:db8:0:0:9::2"))];
        assert_eq!(networks[0], networks[1], "one /64 is one client");
    }

    #[test]
    fn wrong_logins_are_forgotten_after_a_quarter_of_an_hour() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let one = source("192.0.2.1", None);
        for _ in 0..FREE {
            wrong(&mut attempts, &one, now);
        }
        let later = now + FORGOTTEN_AFTER;
        wrong(&mut attempts, &one, later);
        assert!(matches!(wrong(&mut attempts, &one, later), Attempt::Wrong { .. }), "the count began anew");
    }

    #[test]
    fn clients_of_one_proxy_do_not_wait_for_each_other() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let attacker = source("10.0.0.1", Some("203.0.113.9, 198.51.100.1"));
        for _ in 0..FREE {
            wrong(&mut attempts, &attacker, now);
        }
        assert!(matches!(wrong(&mut attempts, &attacker, now), Attempt::TooEarly(_)));
        let forged = source("10.0.0.1", Some("1.2.3.4, 198.51.100.1"));
        assert!(matches!(wrong(&mut attempts, &forged, now), Attempt::TooEarly(_)), "the last entry counts");
        assert_eq!(attempts.attempt(&source("10.0.0.1", Some("198.51.100.2")), now, || true), Attempt::Right);
        // Who writes new names into the header has the limit of the peer.
        for n in 0..FREE_OF_PROXY {
            wrong(&mut attempts, &source("10.0.0.1", Some(&format!("198.51.100.{n}"))), now);
        }
        assert!(matches!(wrong(&mut attempts, &source("10.0.0.1", Some("new")), now), Attempt::TooEarly(_)));
    }

    #[test]
    fn one_network_of_ipv6_is_one_source_and_memory_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..FREE {
            wrong(&mut attempts, &source(&format!("2001:db8::{n}"), None), now);
        }
        assert!(matches!(wrong(&mut attempts, &source("2001:db8::ffff", None), now), Attempt::TooEarly(_)));
        assert!(matches!(wrong(&mut attempts, &source("2001:db8:0:1::1", None), now), Attempt::Wrong { .. }));
        for n in 0..2 * SOURCES {
            let address = format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
            wrong(&mut attempts, &source(&address, None), now);
        }
        assert!(attempts.sources.len() <= SOURCES, "{}", attempts.sources.len());
    }

    #[test]
    fn a_source_is_logged_once_a_minute() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let one = source("192.0.2.1", None);
        assert_eq!(wrong(&mut attempts, &one, now), Attempt::Wrong { log: Some(1) });
        assert_eq!(wrong(&mut attempts, &one, now), Attempt::Wrong { log: None });
        assert_eq!(wrong(&mut attempts, &one, now + Duration::from_mins(1)), Attempt::Wrong { log: Some(2) });
    }
}
