//! Detects that the broker lost stored webhooks, because its disk is damaged or was restored from an older
//! copy.
//!
//! A loss shows in two ways: the broker reports damaged messages, or the last sequence of the stream is
//! lower than before. A reconciliation pass then publishes the events of conversations that were lost before
//! a worker processed them. That includes `call_initiation_failure`, because ElevenLabs lists these
//! conversations too.

use aftercall_common::contract::streams;
use serde::Deserialize;

use super::trigger::Trigger;
use crate::Context;

/// The state of the stream of webhooks, as the broker reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct State {
    last_seq: u64,
    #[serde(default)]
    lost: Lost,
}

/// The messages that the broker found damaged when it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct Lost {
    #[serde(default)]
    bytes: u64,
}

#[derive(Deserialize)]
struct Info {
    state: State,
}

/// Compares the state of the stream with its earlier state.
#[derive(Debug, Default)]
pub struct LossDetector {
    known: State,
}

impl LossDetector {
    /// Checks whether the broker lost webhooks since the previous check. A broker that does not answer is
    /// checked again at the next call.
    pub async fn check(&mut self, context: &Context) -> Trigger {
        let info = context.jetstream.request::<_, _, Info>(format!("STREAM.INFO.{}", streams::WEBHOOKS), &());
        let Ok(Info { state }) = info.await else { return Trigger::Scheduled };
        let is_loss = self.is_loss(state);
        if is_loss {
            context.metrics.stream_loss();
            tracing::error!(
                bytes = state.lost.bytes,
                last_sequence = state.last_seq,
                last_sequence_before = self.known.last_seq,
                "the broker lost stored webhooks: its disk is damaged or was restored from an older copy; reconciling the last day"
            );
        }
        self.known = state;
        if is_loss { Trigger::DataLoss } else { Trigger::Scheduled }
    }

    fn is_loss(&self, now: State) -> bool {
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
            assert_eq!(LossDetector { known }.is_loss(now), lost, "{known:?} {now:?}");
        }
        let report = r#"{"state":{"messages":10,"last_seq":10,"lost":{"msgs":null,"bytes":203560}}}"#;
        assert_eq!(serde_json::from_str::<Info>(report).unwrap().state, state(10, 203_560));
    }
}
