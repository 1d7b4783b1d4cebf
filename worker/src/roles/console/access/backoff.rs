//! Delays logins after wrong logins from the same source. Pure: the time is an argument.
//!
//! Invariants:
//! - A source waits at most [`LONGEST`]. The console forgets a source when [`FORGOTTEN_AFTER`] has passed
//!   since the last wrong login of the source.
//! - Requests with a session are not checked here, so a browser that is logged in is never delayed.
//! - At most [`MAX_SOURCES`] sources are remembered.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use aftercall_common::http::{SourceLog, source_of};
use axum::http::HeaderMap;

/// Number of wrong logins after which a client has to wait.
const CLIENT_ALLOWANCE: u32 = 5;
/// Number of wrong logins after which a proxy has to wait. It is higher because a proxy has many clients.
const PROXY_ALLOWANCE: u32 = 50;
/// Interval at which one wrong login of a proxy is forgotten. A client that has to wait can send one wrong login a
/// minute, so one client alone cannot lock out the other clients of its proxy.
const PROXY_FORGIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Longest time that a source has to wait.
const LONGEST: Duration = Duration::from_mins(1);
/// A source is forgotten when this time has passed since its last wrong login.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(15);
/// Most sources that are remembered. At the limit, the source whose last wrong login is oldest is forgotten.
const MAX_SOURCES: usize = 4096;
/// Most characters kept of a client's name in `X-Forwarded-For`.
const MAX_NAME: usize = 64;

/// The origin of a login.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The address of the peer. For IPv6 its /64 network, because one machine can use all addresses of it.
    peer: IpAddr,
    /// The last entry of `X-Forwarded-For`. `None`: the request has no such header. An empty name stands for all
    /// clients of the peer.
    client: Option<String>,
}

impl Source {
    /// The source of a request of `peer`.
    ///
    /// The last entry of `X-Forwarded-For` comes from the nearest proxy. A peer that is no proxy can write
    /// any text into this header. Therefore the peer itself has a limit too.
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

    /// The keys under which the source is counted, each with the number of wrong logins after which it has to wait.
    fn keys(&self) -> impl Iterator<Item = (Self, u32)> {
        let proxy = Self { peer: self.peer, client: Some(String::new()) };
        let proxy = self.client.is_some().then_some((proxy, PROXY_ALLOWANCE));
        std::iter::once((self.clone(), CLIENT_ALLOWANCE)).chain(proxy)
    }
}

/// The wrong logins of one source.
#[derive(Clone, Copy, Debug)]
struct Record {
    wrong: u32,
    last: Instant,
    /// Until when wrong logins of a proxy were forgotten.
    forgiven: Instant,
    until: Instant,
}

impl Record {
    /// Forgets one wrong login for each whole interval that has passed.
    fn forgive(&mut self, now: Instant) {
        let passed =
            now.saturating_duration_since(self.forgiven).as_secs() / PROXY_FORGIVE_INTERVAL.as_secs();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.wrong = self.wrong.saturating_sub(passed);
        self.forgiven += PROXY_FORGIVE_INTERVAL * passed;
    }
}

/// The outcome of an attempt to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The token was right.
    Accepted,
    /// The token was wrong. `log`: number of wrong logins since the last log line. `None`: the login is not
    /// logged.
    Wrong { log: Option<u64> },
    /// The login was not checked. The source has to wait this long.
    Delayed(Duration),
}

/// The wrong logins of all sources.
#[derive(Debug)]
pub struct Attempts {
    sources: HashMap<Source, Record>,
    log: SourceLog,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { sources: HashMap::new(), log: SourceLog::new(MAX_SOURCES) }
    }
}

impl Attempts {
    /// Calls `is_right` to check a login of `source` at `now`, unless the source has to wait.
    pub fn attempt(&mut self, source: &Source, now: Instant, is_right: impl FnOnce() -> bool) -> Attempt {
        let wait = source
            .keys()
            .filter_map(|(key, _)| self.sources.get(&key))
            .map(|record| record.until.saturating_duration_since(now));
        if let Some(wait) = wait.max()
            && !wait.is_zero()
        {
            return Attempt::Delayed(wait);
        }
        if is_right() {
            // The count of the proxy stays: a right login of one client says nothing about its other clients.
            if let Some((key, _)) = source.keys().next() {
                self.sources.remove(&key);
            }
            return Attempt::Accepted;
        }
        self.make_room(now);
        for (key, allowed) in source.keys() {
            let is_proxy = allowed == PROXY_ALLOWANCE;
            let record =
                self.sources.entry(key).or_insert(Record { wrong: 0, last: now, forgiven: now, until: now });
            if is_proxy {
                record.forgive(now);
            }
            record.wrong = record.wrong.saturating_add(1);
            record.last = now;
            record.until = now + wait_after(record.wrong, allowed);
        }
        Attempt::Wrong { log: self.log.record(source.peer, now) }
    }

    fn make_room(&mut self, now: Instant) {
        self.sources.retain(|_, record| now.saturating_duration_since(record.last) < FORGOTTEN_AFTER);
        while self.sources.len() + 2 > MAX_SOURCES {
            let oldest =
                self.sources.iter().min_by_key(|(_, record)| record.last).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.sources.remove(&oldest);
        }
    }
}

/// How long a source waits after `wrong` wrong logins: one second after `allowed` of them, twice as long after each
/// further one.
fn wait_after(wrong: u32, allowed: u32) -> Duration {
    match wrong.checked_sub(allowed) {
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
    fn waits_grow_with_each_wrong_login_up_to_a_minute() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        let (one, other) = (source("192.0.2.1", None), source("192.0.2.2", None));
        for _ in 0..CLIENT_ALLOWANCE {
            assert!(matches!(wrong(&mut attempts, &one, now), Attempt::Wrong { .. }));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(
                attempts.attempt(&one, now, || true),
                Attempt::Delayed(wait),
                "the login is not checked"
            );
            assert_eq!(attempts.attempt(&other, now, || true), Attempt::Accepted);
            now += wait;
            assert!(matches!(wrong(&mut attempts, &one, now), Attempt::Wrong { .. }), "after {seconds} s");
        }
        now += LONGEST;
        assert_eq!(attempts.attempt(&one, now, || true), Attempt::Accepted);
        assert!(attempts.sources.is_empty(), "a right login removes the count");
    }

    #[test]
    fn a_slow_attacker_behind_a_proxy_does_not_lock_out_other_clients() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        let (attacker, other) =
            (source("10.0.0.1", Some("192.0.2.1")), source("10.0.0.1", Some("192.0.2.2")));
        for minute in 0..120 {
            wrong(&mut attempts, &attacker, now);
            assert_eq!(attempts.attempt(&other, now, || true), Attempt::Accepted, "minute {minute}");
            now += LONGEST;
        }
        // Nor do several attackers together, as long as they are slow.
        for n in 0..PROXY_ALLOWANCE * 4 {
            wrong(&mut attempts, &source("10.0.0.1", Some(&format!("198.51.100.{n}"))), now);
            assert_eq!(attempts.attempt(&other, now, || true), Attempt::Accepted, "{n}");
            now += PROXY_FORGIVE_INTERVAL * 9 / 10;
        }
        let networks =
            [source("10.0.0.1", Some("2001:db8::1")), source("10.0.0.1", Some("2001:db8:0:0:9::2"))];
        assert_eq!(networks[0], networks[1], "one /64 is one client");
    }

    #[test]
    fn wrong_logins_are_forgotten_after_a_quarter_of_an_hour() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let one = source("192.0.2.1", None);
        for _ in 0..CLIENT_ALLOWANCE {
            wrong(&mut attempts, &one, now);
        }
        let later = now + FORGOTTEN_AFTER;
        wrong(&mut attempts, &one, later);
        assert!(
            matches!(wrong(&mut attempts, &one, later), Attempt::Wrong { .. }),
            "the count has restarted"
        );
    }

    #[test]
    fn clients_of_one_proxy_are_delayed_separately() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let attacker = source("10.0.0.1", Some("203.0.113.9, 198.51.100.1"));
        for _ in 0..CLIENT_ALLOWANCE {
            wrong(&mut attempts, &attacker, now);
        }
        assert!(matches!(wrong(&mut attempts, &attacker, now), Attempt::Delayed(_)));
        let forged = source("10.0.0.1", Some("1.2.3.4, 198.51.100.1"));
        assert!(matches!(wrong(&mut attempts, &forged, now), Attempt::Delayed(_)), "the last entry counts");
        assert_eq!(
            attempts.attempt(&source("10.0.0.1", Some("198.51.100.2")), now, || true),
            Attempt::Accepted
        );
        // An attacker that writes new names into the header reaches the limit of the peer.
        for n in 0..PROXY_ALLOWANCE {
            wrong(&mut attempts, &source("10.0.0.1", Some(&format!("198.51.100.{n}"))), now);
        }
        assert!(matches!(wrong(&mut attempts, &source("10.0.0.1", Some("new")), now), Attempt::Delayed(_)));
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_the_number_of_sources_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..CLIENT_ALLOWANCE {
            wrong(&mut attempts, &source(&format!("2001:db8::{n}"), None), now);
        }
        assert!(matches!(wrong(&mut attempts, &source("2001:db8::ffff", None), now), Attempt::Delayed(_)));
        assert!(matches!(wrong(&mut attempts, &source("2001:db8:0:1::1", None), now), Attempt::Wrong { .. }));
        for n in 0..2 * MAX_SOURCES {
            let address = format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
            wrong(&mut attempts, &source(&address, None), now);
        }
        assert!(attempts.sources.len() <= MAX_SOURCES, "{}", attempts.sources.len());
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
