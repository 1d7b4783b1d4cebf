//! The conditions of a list as chips, each with the address of the list without it. Pure.

use aftercall_common::phone_numbers::Numbers;

use super::{
    choices::agent_name,
    filter::{EVALUATIONS, Params, ResultChoice},
    format, length, tone,
};
use crate::{domain::call::Disposition, store::views::Choices};

/// A condition of the list.
pub struct Chip {
    pub name: &'static str,
    pub value: String,
    /// The address of the list without this condition.
    pub without: String,
}

/// Name and value of a condition, and how it is removed. Without a value, the list has no such condition.
type Condition = (&'static str, Option<String>, fn(&mut Params));

/// The conditions of `params`, in the order of the form.
pub fn chips(params: &Params, choices: &Choices, numbers: Numbers) -> Vec<Chip> {
    let text = |text: &str| Some(format::sender_text(text, numbers)).filter(|text| !text.is_empty());
    let id = |id: &str| Some(format::id(id, numbers)).filter(|id| !id.is_empty());
    let named = choices.agents.iter().find(|agent| agent.id == params.agent);
    let agent = || agent_name(&params.agent, named.and_then(|agent| agent.name.as_deref()), numbers);
    let evaluation = EVALUATIONS.iter().find(|(word, _)| params.evaluation == Some(*word));
    let statuses: Vec<_> = params.statuses.iter().map(|status| tone::status_text(Some(*status))).collect();
    let [since, until] = params.since_and_until();
    let conditions: [Condition; 14] = [
        ("Search", text(&params.q), |params| params.q.clear()),
        ("Outcome", params.result.as_ref().map(results), |params| params.result = None),
        ("Status", text(&statuses.join(", ")), |params| params.statuses.clear()),
        ("Agent", (!params.agent.is_empty()).then(agent), |params| params.agent.clear()),
        ("Batch", id(&params.batch), |params| params.batch.clear()),
        ("Campaign", id(&params.campaign), |params| params.campaign.clear()),
        ("Direction", params.direction.map(str::to_owned), |params| params.direction = None),
        ("Evaluation", evaluation.map(|(_, name)| (*name).to_owned()), |params| params.evaluation = None),
        ("Duration", params.length.map(length::name), |params| params.length = None),
        ("Reason", text(&params.reason), |params| params.reason.clear()),
        ("SIP code", text(&params.sip), |params| params.sip.clear()),
        ("Created", params.period.map(|period| period.name.to_owned()), |params| params.period = None),
        ("From", moment(&since), |params| params.since = None),
        ("To", moment(&until), |params| params.until = None),
    ];
    let chip = |(name, value, remove): Condition| {
        let mut without = params.page_at(None);
        remove(&mut without);
        value.map(|value| Chip { name, value, without: without.address() })
    };
    conditions.into_iter().filter_map(chip).collect()
}

fn results(result: &ResultChoice) -> String {
    match result {
        ResultChoice::Over(outcomes) => tone::group_name(outcomes).map_or_else(
            || outcomes.iter().map(|outcome| tone::outcome_text(*outcome)).collect::<Vec<_>>().join(", "),
            str::to_owned,
        ),
        ResultChoice::Going => "in progress".to_owned(),
        ResultChoice::Stuck => tone::disposition_text(Disposition::Stuck).to_owned(),
    }
}

fn moment(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| format!("{} UTC", text.replace('T', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_leads_to_the_list_without_its_condition() {
        let params = Params::read("outcome=busy%2Cno_answer&batch=btc_1&since=2026-11-25T14%3A00").0;
        let chips = chips(&params, &Choices::default(), Numbers::Masked);
        let shown: Vec<_> =
            chips.iter().map(|chip| (chip.name, chip.value.as_str(), chip.without.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("Outcome", "busy, no answer", "/calls?batch=btc_1&since=2026-11-25T14%3A00"),
                ("Batch", "btc_1", "/calls?outcome=busy%2Cno_answer&since=2026-11-25T14%3A00"),
                ("From", "2026-11-25 14:00 UTC", "/calls?outcome=busy%2Cno_answer&batch=btc_1"),
            ]
        );
    }
}
