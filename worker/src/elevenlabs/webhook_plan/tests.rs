use super::*;

const URL: &str = "https://hooks.example.com/x";
const NEW: &str = "create a webhook, whose secret is shown once; change the new webhook: retries on; \
    bind transcript, call_initiation_failure to the new webhook";

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

fn wanted() -> Wanted {
    let events = vec!["transcript".to_owned(), "call_initiation_failure".to_owned()];
    Wanted { url: URL.to_owned(), name: "n".to_owned(), events, rotate: false, sets_header: false }
}

fn binding(id: &str, events: &[&str]) -> Map<String, Value> {
    json!({ "post_call_webhook_id": id, "events": events, "transcript_format": "json" })
        .as_object()
        .unwrap()
        .clone()
}

#[test]
fn plan_has_the_steps_for_each_state() {
    let both = ["transcript", "call_initiation_failure"];
    let lists = |steps: Vec<Step>| steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let elsewhere = Webhook { url: "https://other.example.com".to_owned(), ..webhook("a") };
    let off = Webhook { is_disabled: true, ..webhook("a") };
    let fallen = Webhook { is_auto_disabled: true, ..webhook("a") };
    let once = Webhook { retry_enabled: Some(false), ..webhook("a") };
    #[rustfmt::skip]
    let table = [
        (wanted(),                                   vec![],               Map::new(),                        NEW),
        (wanted(),                                   vec![elsewhere],      Map::new(),                        NEW),
        (wanted(),                                   vec![webhook("a")],   binding("a", &both),               ""),
        (wanted(),                                   vec![webhook("b"), webhook("a")], binding("a", &both),   ""),
        (wanted(),                                   vec![off],            binding("a", &both),               "change a: switched off: on again, retries on"),
        (wanted(),                                   vec![fallen],         binding("a", &both),               "change a: switched off by ElevenLabs after failures: on again, retries on"),
        (wanted(),                                   vec![once],           binding("a", &both),               "change a: retries on"),
        (Wanted { sets_header: true, ..wanted() },   vec![webhook("a")],   binding("a", &both),               "change a: header set"),
        (wanted(),                                   vec![webhook("a")],   binding("x", &both),               "bind transcript, call_initiation_failure to a"),
        (wanted(),                                   vec![webhook("a")],   binding("a", &["audio", "transcript"]), "bind audio, transcript, call_initiation_failure to a"),
        (Wanted { rotate: true, ..wanted() },        vec![webhook("a")],   binding("a", &both),               NEW),
    ];
    for (wanted, webhooks, binding, expected) in table {
        assert_eq!(lists(plan(&wanted, &webhooks, &binding)), expected, "{webhooks:?}");
    }
    let kept = bound(&wanted(), &binding("x", &["audio"]), "a");
    assert_eq!(
        kept,
        *json!({ "post_call_webhook_id": "a", "transcript_format": "json",
        "events": ["audio", "transcript", "call_initiation_failure"] })
        .as_object()
        .unwrap()
    );
}
