//! `endpoints test`.

use anyhow::bail;

use crate::{
    Context,
    commands::{deliveries::attempt_json, print_line, table::printable},
    domain::delivery::{Endpoint, Outcome},
    roles::deliver::endpoints::Sender,
};

/// Sends an event of the type `test.ping` to `endpoint`, whatever its state, and prints the attempt.
///
/// # Errors
/// The endpoint did not accept it.
pub async fn test(context: &Context, endpoint: &Endpoint, as_json: bool) -> anyhow::Result<()> {
    let sender = Sender::new(context.config.private_networks())?;
    let (attempt, outcome) = sender.send_test(endpoint).await;
    if as_json {
        print_line(attempt_json(context, &attempt))?;
    } else {
        let milliseconds = attempt.duration.as_millis();
        let result = attempt
            .status
            .map_or_else(|| attempt.error.clone().unwrap_or_default(), |status| format!("status {status}"));
        print_line(format!("{result} after {milliseconds} ms"))?;
        if let Some(answer) = attempt_json(context, &attempt)["answer"].as_str() {
            print_line(printable(answer))?;
        }
    }
    match outcome {
        Outcome::Accepted => Ok(()),
        Outcome::Failed(error) => bail!("endpoint {} was not reached: {error}", endpoint.id),
        Outcome::Gone | Outcome::Refused { .. } => bail!("endpoint {} did not accept the event", endpoint.id),
    }
}
