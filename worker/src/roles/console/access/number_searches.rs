//! Limits the searches for numbers that find nothing. Pure: the time is an argument.
//!
//! While numbers are masked, a search tells whether a number exists. Somebody who tries all hidden digits would find
//! each number in minutes. Searches that find calls are free.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Searches that one person can make in a row without finding anything.
const MAX_MISSES: u32 = 100;
/// Time after which a person may make one more.
const INTERVAL: Duration = Duration::from_mins(1);
/// Most people that are remembered. A shared login is one.
const MAX_PEOPLE: usize = 1024;

/// The searches of all people.
#[derive(Debug, Default)]
pub struct NumberSearches(Mutex<HashMap<String, Instant>>);

impl NumberSearches {
    /// Takes one search of `person` at `now`.
    ///
    /// # Errors
    /// The person has to wait this long.
    pub fn take(&self, person: &str, now: Instant) -> Result<(), Duration> {
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        people.retain(|_, free_at| *free_at > now);
        if people.len() >= MAX_PEOPLE && !people.contains_key(person) {
            return Err(INTERVAL);
        }
        // When all searches of the person are free again.
        let free_at = people.get(person).copied().unwrap_or(now) + INTERVAL;
        let wait = free_at.saturating_duration_since(now + INTERVAL * MAX_MISSES);
        if !wait.is_zero() {
            return Err(wait);
        }
        people.insert(person.to_owned(), free_at);
        Ok(())
    }

    /// Gives back a search that has found something.
    pub fn give_back(&self, person: &str) {
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free_at) = people.get_mut(person) {
            *free_at = free_at.checked_sub(INTERVAL).unwrap_or(*free_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_searches_that_find_nothing_are_limited() {
        let (searches, start) = (NumberSearches::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(searches.take("a", start), Ok(()));
            searches.give_back("a");
        }
        let taken = (0..1000).take_while(|_| searches.take("a", start).is_ok()).count();
        assert_eq!(taken, MAX_MISSES as usize);
        assert_eq!(searches.take("a", start), Err(INTERVAL));
        assert_eq!(searches.take("b", start), Ok(()), "another person");
        let later = start + INTERVAL * 5;
        let taken = (0..1000).take_while(|_| searches.take("a", later).is_ok()).count();
        assert_eq!(taken, 5);
    }

    #[test]
    fn the_number_of_people_is_bounded() {
        let (searches, start) = (NumberSearches::default(), Instant::now());
        for n in 0..MAX_PEOPLE {
            assert_eq!(searches.take(&n.to_string(), start), Ok(()));
        }
        assert!(searches.take("one more", start).is_err());
        assert_eq!(searches.take("one more", start + INTERVAL * 2), Ok(()));
    }
}
