//! Decides which messages may have ended a worker process, and how they are processed. Pure.

/// Number of deliveries at which a message becomes a suspect.
const SUSPECT_DELIVERIES: i64 = 4;
/// Number of unfinished attempts after which a message becomes a dead letter.
const MAX_ATTEMPTS: u32 = 5;

/// The way in which a suspect is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Together with other suspects that have no unfinished attempt. Most of them were delivered often
    /// because of an outage.
    Together,
    /// As the only message in the process.
    Alone,
    /// Not at all: it becomes a dead letter.
    DeadLetter,
}

/// Whether a message with this number of deliveries is a suspect. Suspects are processed apart from all other
/// messages.
pub(super) fn is_suspect(delivered: i64) -> bool {
    delivered >= SUSPECT_DELIVERIES
}

/// The treatment of a suspect with this number of unfinished `attempts`.
pub(super) fn treatment(attempts: u32, heavy: bool) -> Treatment {
    match attempts {
        0 if !heavy => Treatment::Together,
        attempts if attempts < MAX_ATTEMPTS => Treatment::Alone,
        _ => Treatment::DeadLetter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_dead_letter_after_five_unfinished_attempts() {
        #[rustfmt::skip]
        let table = [
            // attempts, heavy, treatment
            (0, false, Treatment::Together),
            (0, true,  Treatment::Alone),
            (1, false, Treatment::Alone),
            (4, true,  Treatment::Alone),
            (5, false, Treatment::DeadLetter),
            (5, true,  Treatment::DeadLetter),
            (9, false, Treatment::DeadLetter),
        ];
        for (attempts, heavy, expected) in table {
            assert_eq!(treatment(attempts, heavy), expected, "{attempts} attempts, heavy: {heavy}");
        }
        assert_eq!([0, 1, 3, 4, 100].map(is_suspect), [false, false, false, true, true]);
    }
}
