//! Prints the result of `register`.

use aftercall_common::process::config::Secret;
use serde_json::json;

use super::options::Options;
use crate::elevenlabs::webhook_plan::Step;

/// Prints the steps that were done, or would be done in a dry run. The secret is printed unless it is in a
/// file.
pub(super) fn print(options: &Options, steps: &[Step], secret: Option<&Secret>, id: Option<&str>) {
    let shown = secret.filter(|_| options.secret_file.is_none()).map(Secret::expose);
    let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
    if options.json {
        let outcome = json!({
            "webhookId": id, "changed": !options.dry_run && !steps.is_empty(), "steps": steps, "secret": shown,
        });
        println!("{outcome}");
        return;
    }
    if steps.is_empty() {
        println!("nothing to change: webhook {} is registered, bound and enabled", id.unwrap_or_default());
    }
    for step in steps {
        println!("{} {step}", if options.dry_run { "would" } else { "done:" });
    }
    if let Some(secret) = shown {
        println!("ELEVENLABS_WEBHOOK_SECRET={secret}");
    }
    if let Some(path) = options.secret_file.as_ref().filter(|_| secret.is_some()) {
        println!("the secret is in {}", path.display());
    }
}
