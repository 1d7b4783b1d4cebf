//! A message in Slack for a failed call.

use serde_json::Value;

use super::{
    Receiver, call,
    stand_in::{Asked, StandIn},
};

/// Answers as an incoming webhook of Slack does.
pub fn slack(asked: &Asked) -> (u16, String) {
    let text = asked.body["text"].as_str();
    let (status, answer) = match (asked.method.as_str(), asked.path.as_str(), text) {
        (_, path, _) if path != "/services/T0/B0/token" => (404, "no_service"),
        ("POST", ..) if asked.content_type != "application/json" || asked.body.is_null() => {
            (400, "invalid_payload")
        }
        ("POST", _, None | Some("")) => (400, "no_text"),
        ("POST", _, Some(_)) => (200, "ok"),
        _ => (400, "invalid_payload"),
    };
    (status, answer.to_owned())
}

#[tokio::test]
async fn failed_call_becomes_a_message_and_others_do_not() {
    let server = StandIn::start(slack).await;
    let url = format!("{}/services/T0/B0/token", server.url);
    let recipe = Receiver::start("slack.mjs", &[("SLACK_URL", &url)]).await;
    for outcome in ["answered", "voicemail", "canceled", "unknown"] {
        assert_eq!(recipe.event("call.outcome", &call(outcome)).await, 204, "{}", recipe.log());
    }
    assert_eq!(recipe.event("call.status", &call("busy")).await, 204);
    assert!(server.asked().is_empty(), "{:?}", server.asked());
    let mut failed = call("no_answer");
    failed["failureReason"] = "No answer & <!channel>".into();
    assert_eq!(recipe.event("call.outcome", &failed).await, 204, "{}", recipe.log());
    let messages: Vec<_> = server.asked().into_iter().map(|asked| asked.body["text"].clone()).collect();
    let expected = "Call CA0123456789abcdef0123456789abcdef to +12025550123 by Anna &amp; &lt;Ben&gt;: *no_answer*. \
                    No answer &amp; &lt;!channel&gt;";
    assert_eq!(messages, [Value::from(expected)]);
}

#[tokio::test]
async fn refusal_of_slack_is_an_answer_that_is_repeated() {
    let server = StandIn::start(slack).await;
    let url = format!("{}/services/revoked", server.url);
    let recipe = Receiver::start("slack.mjs", &[("SLACK_URL", &url)]).await;
    assert_eq!(recipe.event("call.outcome", &call("busy")).await, 502);
    assert!(recipe.log().contains("Slack answered 404 no_service"), "{}", recipe.log());
}
