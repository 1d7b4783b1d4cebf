//! Whether the broker has lost webhooks that it had stored: its disk lost bits, or was put back to an older copy.
//!
//! It says so, or its last sequence is lower than it was. What was lost and not processed is then asked of
//! ElevenLabs; a `call_initiation_failure` among it too, for that is in the list of conversations.

use aftercall_common::contract::streams;
use serde::Deserialize;

use super::Urgency;
use crate::Context;

/// What the broker says of its stream of webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct State {
    last_seq: u64,
    #[serde(default)]
    lost: Lost,
}

/// Messages it found damaged when it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct Lost {
    #[serde(default)]
    bytes: u64,
}

#[derive(Deserialize)]
struct Info {
    state: State,
}

/// Watches one stream.
#[derive(Debug, Default)]
pub(super) struct Losses {
    known: State,
}

impl Losses {
    /// Asks the broker whether it lost something since it was last asked. One that does not answer is asked
    /// again later.
    pub(super) async fn look(&mut self, context: &Context) -> Urgency {
        let asked =
            context.jetstream.request::<_, _, Info>(format!("STREAM.INFO.{}", streams::WEBHOOKS), &());
        let Ok(Info { state }) = asked.await else { return Urgency::Due };
        let lost = self.lost(state);
        if lost {
            context.metrics.stream_loss();
            tracing::error!(
                bytes = state.lost.bytes,
                last_sequence = state.last_seq,
                last_sequence_before = self.known.last_seq,
                "the broker lost stored webhooks: its disk is damaged or was set back; reconciling the last day"
            );
        }
        self.known = state;
        if lost { Urgency::Loss } else { Urgency::Due }
    }

    fn lost(&self, now: State) -> bool {
        now.last_seq < self.known.last_seq || (now.lost.bytes > 0 && now.lost != self.known.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_what_the_broker_says_or_a_sequence_that_went_back() {
        let state = |last_seq, bytes| State { last_seq, lost: Lost { bytes } };
        #[rustfmt::skip]
        let table = [ // known, now, lost
            (state(0, 0),  state(9, 0), false),
            (state(9, 0),  state(9, 0), false),
            (state(9, 0),  state(5, 0), true),
            (state(9, 0),  state(9, 7), true),
            (state(0, 0),  state(9, 7), true),
            (state(9, 7),  state(9, 7), false),
            (state(9, 7),  state(12, 0), false),
        ];
        for (known, now, lost) in table {
            assert_eq!(Losses { known }.lost(now), lost, "{known:?} {now:?}");
        }
        let said = r#"{"state":{"messages":10,"last_seq":10,"lost":{"msgs":null,"bytes":203560}}}"#;
        assert_eq!(serde_json::from_str::<Info>(said).unwrap().state, state(10, 203_560));
    }
}
