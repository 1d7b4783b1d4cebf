//! The figures of a batch, as texts and shares. Pure.

use aftercall_common::phone_numbers::Numbers;

use crate::{
    domain::call::{Disposition, Outcome, Status},
    roles::console::view::{
        filter::{Params, ResultChoice},
        format,
        share::{Missed, Share, percent, scaled},
    },
    store::views::BatchFigures,
};

/// The figures, as texts.
pub(super) struct Texts {
    /// Number of calls.
    pub calls: String,
    /// Number of calls that are over.
    pub over: String,
    /// The same in percent of all calls.
    pub over_rate: String,
    /// Calls in progress and stuck calls. Empty: none.
    pub open: String,
    pub recipients: String,
    /// Recipients without an answered call, of whom at least one call is in progress or stuck. Empty: none.
    pub unfinished: String,
    pub reached: String,
    /// Reached recipients, in percent of all recipients.
    pub reached_rate: String,
    /// How many recipients can be tried again. Empty: none.
    pub to_retry: String,
    pub answered: String,
    /// Answered calls, in percent of the calls that are over.
    pub answer_rate: String,
    /// Successful calls, in percent of `judged`. `–`: none was judged.
    pub success_rate: String,
    /// Number of calls that ElevenLabs judged as a success or as a failure.
    pub judged: String,
    /// Length of all calls, in minutes.
    pub minutes: String,
    /// Cost of all calls, in ElevenLabs credits.
    pub cost: String,
    pub outcomes: Vec<Share>,
    /// The calls that nobody answered. `None`: none, or the id is masked.
    pub missed: Option<Missed>,
    /// Values of the progress bar: calls that are over, and all calls.
    pub progress: (u64, u64),
}

/// The texts of `figures`, which belong to the batch `id`.
pub(super) fn texts(id: &str, figures: &BatchFigures, numbers: Numbers) -> Texts {
    let (sums, recipients) = (&figures.sums, figures.recipients);
    let judged = sums.success + sums.failure;
    let open = [(figures.going(), "in progress"), (figures.stuck, "stuck")];
    let open = open.iter().filter(|(n, _)| *n > 0);
    let open: Vec<_> = open.map(|(n, words)| format!("{} {words}", format::count(*n))).collect();
    let known = |n: u64| if n > 0 { format::count(n) } else { String::new() };
    Texts {
        calls: format::count(sums.calls),
        over: format::count(sums.over()),
        over_rate: percent(sums.over(), sums.calls),
        open: open.join(", "),
        recipients: format::count(recipients.all),
        unfinished: known(recipients.unfinished),
        reached: format::count(recipients.reached),
        reached_rate: percent(recipients.reached, recipients.all),
        to_retry: match recipients.to_retry {
            0 => String::new(),
            1 => "1 recipient can be called again.".to_owned(),
            n => format!("{} recipients can be called again.", format::count(n)),
        },
        answered: format::count(sums.of(Outcome::Answered)),
        answer_rate: percent(sums.of(Outcome::Answered), sums.over()),
        success_rate: if judged > 0 { percent(sums.success, judged) } else { "–".to_owned() },
        judged: format::count(judged),
        minutes: format::count((sums.seconds + 30) / 60),
        cost: format::count(sums.cost),
        outcomes: outcomes(id, figures, numbers),
        missed: filter(id, numbers)
            .and_then(|filter| Missed::new(|outcome| sums.of(outcome), filter, sums.calls)),
        progress: (sums.over(), sums.calls),
    }
}

/// One share of all calls for each outcome, one for the calls in progress and one for the stuck calls.
fn outcomes(id: &str, figures: &BatchFigures, numbers: Numbers) -> Vec<Share> {
    let all = figures.sums.calls;
    let href = |result| calls(id, Some(result), numbers);
    let over = Outcome::ALL.into_iter().map(|outcome| {
        let n = figures.sums.of(outcome);
        Share::of_outcome(outcome, href(ResultChoice::Over(vec![outcome])), n, all)
    });
    // The share has the symbol of a ringing call, and a name of its own, because it counts all calls in progress.
    let going = Share {
        name: "in progress".to_owned(),
        ..Share::of_disposition(
            Disposition::Going(Status::Ringing),
            href(ResultChoice::Going),
            figures.going(),
            all,
        )
    };
    let stuck = Share::of_disposition(Disposition::Stuck, href(ResultChoice::Stuck), figures.stuck, all);
    scaled(over.chain([going, stuck]).collect())
}

/// The address of the list of calls of the batch `id` with `result`; `None` stands for all its calls. Empty if the address
/// would show a telephone number that is masked.
pub(super) fn calls(id: &str, result: Option<ResultChoice>, numbers: Numbers) -> String {
    filter(id, numbers).map(|filter| Params { result, ..filter }.address()).unwrap_or_default()
}

/// The filter of the calls of the batch `id`. `None`: an address with it would show a telephone number that is masked.
fn filter(id: &str, numbers: Numbers) -> Option<Params> {
    (numbers.id(id) == id).then(|| Params { batch: id.to_owned(), ..Params::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Sums, views::Recipients};

    #[test]
    fn figures_are_formatted_and_outcomes_lead_to_their_calls() {
        let sums = Sums { calls: 10, outcomes: [4, 1, 0, 2, 0, 0, 0, 0, 0], success: 3, ..Sums::default() };
        let recipients = Recipients { all: 8, reached: 4, unfinished: 3, to_retry: 0 };
        let figures = BatchFigures { sums, stuck: 1, recipients, ..BatchFigures::default() };
        let texts = texts("btc 1", &figures, Numbers::Masked);
        assert_eq!(
            (texts.over.as_str(), texts.over_rate.as_str(), texts.open.as_str()),
            ("7", "70 %", "2 in progress, 1 stuck")
        );
        assert_eq!((texts.answer_rate.as_str(), texts.success_rate.as_str()), ("57 %", "100 %"));
        assert_eq!((texts.reached_rate.as_str(), texts.to_retry.as_str()), ("50 %", ""));
        let shown: Vec<_> = texts
            .outcomes
            .iter()
            .filter(|share| share.count != "0")
            .map(|share| (share.name.as_str(), share.count.as_str(), share.href.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("answered", "4", "/calls?outcome=answered&batch=btc+1"),
                ("voicemail", "1", "/calls?outcome=voicemail&batch=btc+1"),
                ("no answer", "2", "/calls?outcome=no_answer&batch=btc+1"),
                ("in progress", "2", "/calls?outcome=going&batch=btc+1"),
                ("stuck", "1", "/calls?outcome=stuck&batch=btc+1"),
            ]
        );
        let missed = texts.missed.unwrap();
        let filter = "outcome=voicemail%2Cbusy%2Cno_answer%2Crejected%2Cunreachable%2Ccanceled&batch=btc+1";
        assert_eq!(missed.sentence, "3 calls were not answered (30 %)");
        assert_eq!(missed.href, format!("/calls?{filter}"));
        assert_eq!(missed.csv, format!("/calls.csv?{filter}"));
        assert_eq!(calls("+6581234567", None, Numbers::Masked), "", "a masked number is in no address");
    }
}
