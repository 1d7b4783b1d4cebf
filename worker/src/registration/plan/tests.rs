use serde_json::{Value, json};

use super::*;
use crate::{config::EVENTS, registration::AgentBinding};

const URL: &str = "https://hooks.example.com/x";
const NEW: &str = "create a webhook, whose secret is shown once; change the new webhook: retries on; \
    bind transcript, call_initiation_failure, answering_machine_detection to the new webhook";
const BIND: &str = "bind transcript, call_initiation_failure, answering_machine_detection to a";

fn webhook(id: &str) -> Webhook {
    Webhook {
        id: id.to_owned(),
        name: "n".to_owned(),
        url: URL.to_owned(),
        is_disabled: false,
        is_auto_disabled: false,
        retry_enabled: Some(true),
        most_recent_failure_error_code: None,
        most_recent_failure_timestamp: None,
    }
}

/// The webhook `crm`, which leads to somebody else.
fn crm() -> Webhook {
    Webhook { name: "CRM".to_owned(), url: "https://crm.example.com/t0ken".to_owned(), ..webhook("crm") }
}

fn wanted() -> Wanted {
    Wanted {
        scope: Scope::Workspace,
        url: URL.to_owned(),
        name: "n".to_owned(),
        events: EVENTS.map(str::to_owned).to_vec(),
        rotate: false,
        sets_header: false,
    }
}

fn binding(id: &str, events: &[&str]) -> Value {
    json!({ "post_call_webhook_id": id, "events": events, "transcript_format": "json" })
}

fn current(webhooks: Vec<Webhook>, workspace: &Value, agents: &[(&str, Value)]) -> Current {
    let agents =
        agents.iter().map(|(id, own)| AgentBinding { id: (*id).to_owned(), binding: Binding::new(own) });
    Current { webhooks, workspace: Binding::new(workspace), agents: agents.collect(), is_incomplete: false }
}

fn listed(steps: &[Step]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn plan_has_the_steps_for_each_state() {
    let all = &EVENTS[..];
    let elsewhere = Webhook { url: "https://other.example.com".to_owned(), ..webhook("a") };
    let off = Webhook { is_disabled: true, ..webhook("a") };
    let fallen = Webhook { is_auto_disabled: true, ..webhook("a") };
    let once = Webhook { retry_enabled: Some(false), ..webhook("a") };
    let otel = json!({ "post_call_webhook_id": "a", "events": all, "transcript_format": "opentelemetry" });
    let silent = json!({ "post_call_webhook_id": "a", "events": all });
    let new = format!("{NEW}, with transcript_format json");
    let format = format!("{BIND}, with transcript_format json");
    #[rustfmt::skip]
    let table = [
        (wanted(),                                 vec![],                           json!({}),          new.as_str()),
        (wanted(),                                 vec![elsewhere],                  json!({}),          &new),
        (wanted(),                                 vec![webhook("a")],               binding("a", all),  ""),
        (wanted(),                                 vec![webhook("b"), webhook("a")], binding("a", all),  ""),
        (wanted(),                                 vec![off],                        binding("a", all),  "change a: switched off: on again, retries on"),
        (wanted(),                                 vec![fallen],                     binding("a", all),  "change a: switched off by ElevenLabs after failures: on again, retries on"),
        (wanted(),                                 vec![once],                       binding("a", all),  "change a: retries on"),
        (Wanted { sets_header: true, ..wanted() }, vec![webhook("a")],               binding("a", all),  "change a: header set"),
        (wanted(),                                 vec![webhook("a")],               binding("x", all),  BIND),
        (wanted(),                                 vec![webhook("a")],               binding("a", &["audio", "transcript"]),
            "bind audio, transcript, call_initiation_failure, answering_machine_detection to a"),
        (wanted(),                                 vec![webhook("a")],               otel,               &format),
        (wanted(),                                 vec![webhook("a")],               silent,             &format),
        (Wanted { rotate: true, ..wanted() },      vec![webhook("a")],               binding("a", all),  NEW),
    ];
    for (wanted, webhooks, workspace, expected) in table {
        let current = current(webhooks, &workspace, &[]);
        assert_eq!(listed(&plan(&wanted, &current).steps), expected, "{current:?}");
    }
}

#[test]
fn a_binding_keeps_what_it_does_not_set() {
    let before = json!({ "post_call_webhook_id": "x", "events": ["audio"], "transcript_format": "opentelemetry",
        "exclude_transcript": false, "send_audio": true });
    let after = json!({ "post_call_webhook_id": "a", "transcript_format": "json",
        "events": ["audio", "transcript", "call_initiation_failure", "answering_machine_detection"],
        "exclude_transcript": false, "send_audio": true });
    assert_eq!(Binding::new(&before).bound_to("a", &EVENTS), Binding::new(&after));
}

#[test]
fn a_binding_of_another_webhook_is_displaced_and_a_binding_of_ours_is_not() {
    let ours = binding("a", &EVENTS);
    let foreign = binding("crm", &["transcript"]);
    let gone = binding("gone", &["transcript"]);
    let none = json!({});
    let own = Wanted { scope: Scope::Agent("own".to_owned()), ..wanted() };
    let rotated = Wanted { rotate: true, ..wanted() };
    let crm_shown = Some(r#""CRM" (crm, host crm.example.com)"#);
    #[rustfmt::skip]
    let table = [ // wanted, binding of the workspace, of the agent `own`, displaced
        (wanted(),        &none,    &none,    None),
        (wanted(),        &ours,    &none,    None),
        (wanted(),        &ours,    &foreign, None),
        (wanted(),        &foreign, &none,    crm_shown),
        (wanted(),        &foreign, &ours,    crm_shown),
        (wanted(),        &gone,    &none,    Some("gone (not in the list of webhooks)")),
        (rotated.clone(), &ours,    &none,    None),
        (rotated,         &foreign, &none,    crm_shown),
        (own.clone(),     &none,    &none,    None),
        (own.clone(),     &ours,    &none,    None),
        (own.clone(),     &ours,    &foreign, crm_shown),
        (own.clone(),     &none,    &foreign, crm_shown),
        (own.clone(),     &foreign, &none,    crm_shown),
        (own,             &foreign, &ours,    None),
    ];
    for (wanted, workspace, agent, expected) in table {
        let current = current(vec![webhook("a"), crm()], workspace, &[("own", agent.clone())]);
        let displaced = plan(&wanted, &current).displaced.map(|displaced| displaced.to_string());
        assert_eq!(displaced.as_deref(), expected, "{wanted:?} {workspace} {agent}");
    }
}

#[test]
fn a_plan_for_the_workspace_names_the_agents_that_it_does_not_reach() {
    let agents = [
        ("none", json!({})),
        ("ours", binding("a", &EVENTS)),
        ("foreign", binding("crm", &["transcript"])),
        ("inherits", json!({ "transcript_format": "json" })),
    ];
    let current = current(vec![webhook("a"), crm()], &binding("a", &EVENTS), &agents);
    let overrides = plan(&wanted(), &current).overrides;
    let named: Vec<_> =
        overrides.iter().map(|own| (own.agent.as_str(), own.destination.id.as_str())).collect();
    assert_eq!(named, [("foreign", "crm")]);
    let own = Wanted { scope: Scope::Agent("foreign".to_owned()), ..wanted() };
    assert_eq!(plan(&own, &current).overrides, []);
}
