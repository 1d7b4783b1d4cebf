//! Facts about a call that several sources state alike: one row for each fact.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// A fact about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// `outbound` or `inbound`.
    Direction,
    /// How the parties are connected, for example `twilio`, `sip_trunk`, `whatsapp` or `web`.
    Channel,
    /// The number of the caller.
    FromNumber,
    /// The name of the agent.
    AgentName,
    /// When the call began.
    StartedAt,
    /// When the callee answered.
    AnsweredAt,
    /// When the call was over.
    EndedAt,
    /// Length in seconds.
    DurationSecs,
    /// ElevenLabs' credits.
    Cost,
    /// The SIP response code with which the call failed.
    SipCode,
    /// Why the conversation ended, in ElevenLabs' words.
    TerminationReason,
    /// ElevenLabs' analysis: `success`, `failure` or `unknown`.
    CallSuccessful,
    /// ElevenLabs' summary of the conversation.
    Summary,
    /// The batch to which the call belongs.
    BatchCallId,
    /// The recipient of the batch.
    BatchCallRecipientId,
    /// The campaign to which the call belongs.
    CampaignId,
    /// The lead of the campaign.
    CampaignLeadId,
}

/// The value of a fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactValue {
    /// A text.
    Text(String),
    /// A time in whole milliseconds.
    Time(Timestamp),
    /// A whole number.
    Number(i64),
}

/// The type of a fact's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactType {
    /// See [`FactValue::Text`].
    Text,
    /// See [`FactValue::Time`].
    Time,
    /// See [`FactValue::Number`].
    Number,
}

/// The value that prevails if two sources differ. Usually they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prevails {
    /// The smaller value.
    Smaller,
    /// The larger value.
    Larger,
}

/// The known facts of a call.
pub type Facts = BTreeMap<Fact, FactValue>;

impl Fact {
    /// Every fact, in the order of the document.
    pub const ALL: [Self; 17] = [
        Self::Direction,
        Self::Channel,
        Self::FromNumber,
        Self::AgentName,
        Self::StartedAt,
        Self::AnsweredAt,
        Self::EndedAt,
        Self::DurationSecs,
        Self::Cost,
        Self::SipCode,
        Self::TerminationReason,
        Self::CallSuccessful,
        Self::Summary,
        Self::BatchCallId,
        Self::BatchCallRecipientId,
        Self::CampaignId,
        Self::CampaignLeadId,
    ];

    #[rustfmt::skip]
    const fn row(self) -> (&'static str, FactType, Prevails) {
        match self {
            Self::Direction            => ("direction",            FactType::Text,   Prevails::Smaller),
            Self::Channel              => ("channel",              FactType::Text,   Prevails::Smaller),
            Self::FromNumber           => ("fromNumber",           FactType::Text,   Prevails::Smaller),
            Self::AgentName            => ("agentName",            FactType::Text,   Prevails::Smaller),
            Self::StartedAt            => ("startedAt",            FactType::Time,   Prevails::Smaller),
            Self::AnsweredAt           => ("answeredAt",           FactType::Time,   Prevails::Smaller),
            Self::EndedAt              => ("endedAt",              FactType::Time,   Prevails::Larger),
            Self::DurationSecs         => ("durationSecs",         FactType::Number, Prevails::Larger),
            Self::Cost                 => ("cost",                 FactType::Number, Prevails::Larger),
            // A code of the callee (6xx) says more than a code of a proxy.
            Self::SipCode              => ("sipCode",              FactType::Text,   Prevails::Larger),
            Self::TerminationReason    => ("terminationReason",    FactType::Text,   Prevails::Smaller),
            // `failure` and `success` are smaller than `unknown`.
            Self::CallSuccessful       => ("callSuccessful",       FactType::Text,   Prevails::Smaller),
            Self::Summary              => ("summary",              FactType::Text,   Prevails::Smaller),
            Self::BatchCallId          => ("batchCallId",          FactType::Text,   Prevails::Smaller),
            Self::BatchCallRecipientId => ("batchCallRecipientId", FactType::Text,   Prevails::Smaller),
            Self::CampaignId           => ("campaignId",           FactType::Text,   Prevails::Smaller),
            Self::CampaignLeadId       => ("campaignLeadId",       FactType::Text,   Prevails::Smaller),
        }
    }

    /// Name in the document.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The type of the value.
    pub fn value_type(self) -> FactType {
        self.row().1
    }

    /// The value that prevails if two sources differ.
    pub fn prevails(self) -> Prevails {
        self.row().2
    }
}

/// Joins the facts of two patches.
pub(super) fn join_facts(ours: &mut Facts, theirs: Facts) {
    for (fact, theirs) in theirs {
        let keeps = ours.get(&fact).is_some_and(|ours| match fact.prevails() {
            Prevails::Smaller => *ours <= theirs,
            Prevails::Larger => *ours >= theirs,
        });
        if !keeps {
            ours.insert(fact, theirs);
        }
    }
}
