//! The form that filters the list of calls, as texts. Pure.

use std::collections::BTreeSet;

use aftercall_common::phone_numbers::Numbers;

use super::{
    filter::{EVALUATIONS, GOING, PERIODS, Params, ResultChoice, STUCK},
    format, length, tone,
};
use crate::{
    domain::call::{Disposition, Outcome},
    roles::console::view::tone::Tone,
    store::views::{Choices, DIRECTIONS},
};

/// Most failure reasons that the form offers.
const MAX_REASONS: usize = 100;

/// The fields of the form with their choices.
pub struct Form {
    pub results: Vec<ResultBox>,
    /// The chosen outcomes in short.
    pub results_summary: String,
    pub agents: Vec<TextChoice>,
    pub batches: Vec<String>,
    pub campaigns: Vec<String>,
    pub directions: Vec<TextChoice>,
    pub evaluations: Vec<TextChoice>,
    pub durations: Vec<TextChoice>,
    pub reasons: Vec<String>,
    pub periods: Vec<TextChoice>,
    /// Number of fields that leave out calls.
    pub active: usize,
}

/// A box for an outcome.
pub struct ResultBox {
    pub word: &'static str,
    pub name: &'static str,
    pub glyph: &'static str,
    pub tone: Tone,
    pub is_chosen: bool,
    /// Whether the outcome is a choice of its own, which excludes the others.
    pub is_alone: bool,
}

/// A choice of a list.
pub struct TextChoice {
    pub value: String,
    pub name: String,
    pub is_chosen: bool,
}

impl Form {
    /// The form for the calls that `params` show.
    pub fn new(params: &Params, choices: &Choices, numbers: Numbers) -> Self {
        let results = results(params);
        let chosen: Vec<_> = results.iter().filter(|result| result.is_chosen).collect();
        let group = match &params.result {
            Some(ResultChoice::Over(outcomes)) => tone::group_name(outcomes),
            _ => None,
        };
        let results_summary = match (group, &chosen[..]) {
            (Some(group), _) => group.to_owned(),
            (None, []) => "any".to_owned(),
            (None, [result]) => result.name.to_owned(),
            (None, _) => format!("{} chosen", chosen.len()),
        };
        // A masked text would find nothing, and the whole text would show the telephone number.
        let offered = |texts: &[String]| -> Vec<String> {
            texts.iter().filter(|text| numbers.id(text) == text.as_str()).cloned().collect()
        };
        let fixed = |words: &[(&str, &str)], chosen: Option<&str>| -> Vec<TextChoice> {
            let choice = |(word, name): &(&str, &str)| TextChoice {
                value: (*word).to_owned(),
                name: (*name).to_owned(),
                is_chosen: chosen == Some(*word),
            };
            words.iter().map(choice).collect()
        };
        Self {
            results_summary,
            agents: agents(params, choices, numbers),
            batches: offered(&choices.batches),
            campaigns: offered(&choices.campaigns),
            directions: fixed(&DIRECTIONS.map(|word| (word, word)), params.direction),
            evaluations: fixed(&EVALUATIONS, params.evaluation),
            durations: durations(params),
            reasons: offered_reasons(&choices.reasons, numbers),
            periods: fixed(
                &PERIODS.map(|period| (period.word, period.name)),
                params.period.map(|period| period.word),
            ),
            active: active(params),
            results,
        }
    }
}

/// The reasons as the pages show them, each once. Their order is that of the shown texts, because the order of whole
/// numbers would tell something about masked ones.
fn offered_reasons(known: &[String], numbers: Numbers) -> Vec<String> {
    let shown: BTreeSet<_> = known.iter().map(|reason| format::sender_text(reason, numbers)).collect();
    shown.into_iter().take(MAX_REASONS).collect()
}

fn results(params: &Params) -> Vec<ResultBox> {
    let over = Outcome::ALL.map(|outcome| ResultBox {
        word: outcome.as_str(),
        name: tone::outcome_text(outcome),
        glyph: tone::outcome_glyph(outcome),
        tone: Tone::of_outcome(outcome),
        is_chosen: params.has_result(outcome.as_str()),
        is_alone: false,
    });
    let alone = |word, name, glyph, tone| ResultBox {
        word,
        name,
        glyph,
        tone,
        is_chosen: params.has_result(word),
        is_alone: true,
    };
    let stuck = Disposition::Stuck;
    let open = [
        alone(GOING, "in progress", "ringing", Tone::Going),
        alone(
            STUCK,
            tone::disposition_text(stuck),
            tone::disposition_glyph(stuck),
            Tone::of_disposition(stuck),
        ),
    ];
    over.into_iter().chain(open).collect()
}

/// The lengths of calls. The chosen one is always among them.
fn durations(params: &Params) -> Vec<TextChoice> {
    let other = params.length.filter(|chosen| length::offered().all(|offered| offered != *chosen));
    let choice = |offered| TextChoice {
        value: length::text(offered),
        name: length::name(offered),
        is_chosen: params.length == Some(offered),
    };
    length::offered().chain(other).map(choice).collect()
}

/// The agents by name. The chosen agent is always among them.
fn agents(params: &Params, choices: &Choices, numbers: Numbers) -> Vec<TextChoice> {
    let known = choices.agents.iter().filter(|agent| numbers.id(&agent.id) == agent.id.as_str());
    let mut agents: Vec<_> = known
        .map(|agent| TextChoice {
            value: agent.id.clone(),
            name: agent_name(&agent.id, agent.name.as_deref(), numbers),
            is_chosen: agent.id == params.agent,
        })
        .collect();
    if !params.agent.is_empty() && agents.iter().all(|agent| !agent.is_chosen) {
        let name = agent_name(&params.agent, None, numbers);
        agents.push(TextChoice { value: params.agent.clone(), name, is_chosen: true });
    }
    agents.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
    agents
}

/// The name of an agent, else its id.
pub fn agent_name(id: &str, name: Option<&str>, numbers: Numbers) -> String {
    name.map_or_else(|| format::id(id, numbers), |name| format::sender_text(name, numbers))
}

/// Number of fields besides the search that leave out calls.
fn active(params: &Params) -> usize {
    let is_given = [
        params.result.is_some(),
        !params.statuses.is_empty(),
        !params.agent.is_empty(),
        !params.batch.is_empty(),
        !params.campaign.is_empty(),
        params.direction.is_some(),
        params.evaluation.is_some(),
        params.length.is_some(),
        !params.reason.is_empty(),
        !params.sip.is_empty(),
        params.period.is_some(),
        params.since.is_some() || params.until.is_some(),
    ];
    is_given.into_iter().filter(|given| *given).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::views::Agent;

    #[test]
    fn offered_reasons_tell_nothing_about_masked_numbers() {
        let known = ["to +6555000011", "to +6577000022", "to +6588000011"].map(str::to_owned);
        assert_eq!(offered_reasons(&known, Numbers::Masked), ["to +65••••••11", "to +65••••••22"]);
        assert_eq!(offered_reasons(&known, Numbers::Whole), known);
    }

    #[test]
    fn a_duration_of_the_address_is_offered() {
        let shown = |query: &str| -> Vec<(String, bool)> {
            let durations = durations(&Params::read(query).0);
            durations.into_iter().map(|choice| (choice.name, choice.is_chosen)).collect()
        };
        assert_eq!(shown("").len(), 4);
        assert_eq!(shown("duration=10-60")[1], ("10 s to 1 min".to_owned(), true));
        assert_eq!(shown("duration=20-90")[4], ("20 s to 90 s".to_owned(), true));
    }

    #[test]
    fn the_chosen_agent_is_offered_even_if_no_stored_call_names_it() {
        let agent = |id: &str, name: Option<&str>| Agent { id: id.to_owned(), name: name.map(str::to_owned) };
        let agents = vec![agent("agent_2", Some("Ben")), agent("agent_1", None), agent("+6581234567", None)];
        let choices = Choices { agents, ..Choices::default() };
        let shown = |query: &str| -> Vec<(String, bool)> {
            let form = Form::new(&Params::read(query).0, &choices, Numbers::Masked);
            form.agents.into_iter().map(|agent| (agent.name, agent.is_chosen)).collect()
        };
        let entry = |name: &str, is_chosen| (name.to_owned(), is_chosen);
        assert_eq!(shown(""), [entry("Ben", false), entry("agent_1", false)], "no number is offered");
        assert_eq!(shown("agent=agent_2"), [entry("Ben", true), entry("agent_1", false)]);
        assert_eq!(shown("agent=gone"), [entry("Ben", false), entry("agent_1", false), entry("gone", true)]);
    }
}
