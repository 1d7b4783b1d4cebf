//! The copies of a generated conversation, and what brings each of them.

use aftercall_local::simulator::{
    Simulator,
    generated::{Evidence, Generated, generate},
};
use jiff::Timestamp;
use serde_json::Value;

/// A way that brings a whole conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The webhook in the format `json`.
    Webhook,
    /// The webhook without the turns. The worker fetches them.
    WebhookWithoutTurns,
    /// The webhook in the format `opentelemetry`. The worker fetches the conversation.
    Trace,
    /// A status lookup.
    Lookup,
    /// Reconciliation.
    Reconciliation,
}

impl Way {
    pub const ALL: [Self; 5] =
        [Self::Webhook, Self::WebhookWithoutTurns, Self::Trace, Self::Lookup, Self::Reconciliation];
}

/// The label of the first way alone. The others follow.
const ALONE: u32 = 0xab00;
/// The label of the first mixture. The others follow.
const MIXED: u32 = 0xac00;
const MIXTURES: u32 = 4;
/// The label of the copies that have the evidence alone.
pub const EVIDENCE_ALONE: u32 = 0xad00;
const SEED: u64 = 11;

/// A request that brings something about a conversation.
#[derive(Clone, Debug)]
pub enum Action {
    Webhook(Value),
    Callback(String),
    Lookup(String),
}

/// A copy of a conversation, and of the other conversation of its telephone call if there is one.
#[derive(Debug)]
pub struct Case {
    pub n: u32,
    pub label: u32,
    pub generated: Vec<Generated>,
    pub ways: Vec<Way>,
    pub evidence: Evidence,
    /// Whether the conversation is looked up before it is over.
    is_early: bool,
    random: u64,
}

impl Case {
    /// Every copy of conversation number `n`.
    pub fn draw_all(n: u32, now: Timestamp) -> Vec<Self> {
        let mut random = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below| next(&mut random, below);
        let evidence = Evidence { callbacks: draw(2) == 0, failure: draw(2) == 0, detection: draw(2) == 0 };
        let connects = generate(SEED, n, ALONE, now)[0].plan.ending.connects();
        let mut copies = Vec::new();
        let copy = |label, ways: Vec<Way>, evidence, is_early, random: usize| Self {
            n,
            label,
            generated: generate(SEED, n, label, now),
            ways,
            evidence,
            is_early,
            random: random as u64 | 1,
        };
        for (label, way) in (ALONE..).zip(Way::ALL) {
            copies.push(copy(label, vec![way], Evidence::default(), false, draw(1 << 30)));
        }
        for label in MIXED..MIXED + MIXTURES {
            let mut ways: Vec<_> = Way::ALL.into_iter().filter(|_| draw(2) == 0).collect();
            // A call that other evidence has finished is not asked for by a lookup, and a call that was not
            // connected has no trace.
            let sure = [Way::Webhook, Way::WebhookWithoutTurns, Way::Reconciliation];
            let is_sure = if connects { &[Way::Trace][..] } else { &[] };
            if !ways.iter().any(|way| sure.contains(way) || is_sure.contains(way)) {
                ways.push(sure[draw(sure.len())]);
            }
            copies.push(copy(label, ways, evidence, draw(3) == 0, draw(1 << 30)));
        }
        copies.push(copy(EVIDENCE_ALONE, Vec::new(), evidence, false, draw(1 << 30)));
        // A way that does not exist for this conversation brings nothing.
        copies.retain(|case| case.ways != [Way::Trace] || connects);
        copies
    }

    /// Whether the copies of a conversation with this evidence are compared with each other: those of each way
    /// alone, and those of mixtures.
    pub fn group(&self) -> u32 {
        self.label >> 8
    }

    /// Whether a way brings the whole conversation.
    pub fn is_complete(&self) -> bool {
        self.label != EVIDENCE_ALONE
    }

    /// The conversations that are looked up while ElevenLabs makes their transcripts, in this state.
    pub fn in_processing(&self) -> Vec<(&Generated, Value)> {
        let early = self.generated.iter().filter(|_| self.is_early);
        early.filter_map(|generated| Some((generated, generated.in_processing()?))).collect()
    }

    /// Makes the conversations known to the API. Only reconciliation finds a conversation in the list.
    pub fn serve(&self, simulator: &Simulator) {
        for generated in self.generated.iter().filter(|_| self.is_complete()) {
            let listed = self.ways.contains(&Way::Reconciliation).then(|| generated.summary());
            simulator.serve(generated.conversation.clone(), listed);
        }
    }

    /// Adds the requests of this copy in random order, some of them twice: those before the reconciliation to
    /// `before`, the others to `after`.
    pub fn split(&mut self, before: &mut Vec<Action>, after: &mut Vec<Action>) {
        let mut actions: Vec<Action> = self.generated.iter().flat_map(|one| self.actions(one)).collect();
        for action in actions.clone() {
            if next(&mut self.random, 4) == 0 {
                actions.push(action);
            }
        }
        for action in actions {
            let side = if next(&mut self.random, 2) == 0 { &mut *before } else { &mut *after };
            let position = next(&mut self.random, side.len() + 1);
            side.insert(position, action);
        }
    }

    /// The requests that bring this conversation and its evidence.
    fn actions(&self, one: &Generated) -> Vec<Action> {
        let mut actions = Vec::new();
        for way in &self.ways {
            actions.extend(match way {
                Way::Webhook => Some(Action::Webhook(one.webhook())),
                Way::WebhookWithoutTurns => Some(Action::Webhook(one.webhook_without_turns())),
                Way::Trace => one.trace().map(Action::Webhook),
                Way::Lookup => Some(Action::Lookup(one.ids.conversation.clone())),
                Way::Reconciliation => None,
            });
        }
        if self.evidence.failure {
            actions.extend(one.failure().map(Action::Webhook));
        }
        if self.evidence.detection {
            actions.extend(one.detection().map(Action::Webhook));
        }
        if self.evidence.callbacks {
            actions.extend(one.callbacks.iter().map(|parameters| {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, value) in parameters {
                    form.append_pair(name, value.as_str().unwrap_or_default());
                }
                Action::Callback(form.finish())
            }));
        }
        actions
    }
}

/// The next random number in `0..below`.
fn next(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from((*seed >> 33) % below as u64).unwrap()
}
