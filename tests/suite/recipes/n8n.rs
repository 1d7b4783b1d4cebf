//! The workflow of n8n. n8n itself does not run here: a script calls the code of the second node as n8n's Code node
//! does, with `$input`, `$env`, `require` and `this.helpers`, for the output of a Webhook node with the option
//! "raw body".

use serde_json::{Value, json};
use tokio::process::Command;

use super::recipe;
use crate::harness::{SECRET, node, sign};

const RUN: &str = r"
const [workflow, header, body, secret] = process.argv.slice(1);
const nodes = JSON.parse(require('fs').readFileSync(workflow)).nodes;
const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;
const code = new AsyncFunction('$input', '$env', 'require', nodes[1].parameters.jsCode);
const item = { json: { headers: header ? { 'elevenlabs-signature': header } : {}, body: {} } };
const node = { helpers: { getBinaryDataBuffer: async (index, name) => [{ data: Buffer.from(body) }][index][name] } };
code.call(node, { first: () => item }, { ELEVENLABS_WEBHOOK_SECRET: secret }, require)
  .then((items) => console.log(JSON.stringify(items)), (error) => console.log(error.message));
";

/// What the workflow returns for a webhook: its items as JSON, or the text of its error.
pub async fn run(header: &str, body: &str) -> String {
    let mut command = Command::new(node::program().await);
    command.args(["-e", RUN, "--", &recipe("n8n.json"), header, body, SECRET]).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn workflow_takes_what_elevenlabs_signed() {
    let body = r#"{"type": "post_call_transcription", "data": {"conversation_id": "conv_ü"}}"#;
    let items: Value = serde_json::from_str(&run(&sign(SECRET, body), body).await).unwrap();
    let expected =
        json!([{ "json": { "type": "post_call_transcription", "data": { "conversation_id": "conv_ü" } } }]);
    assert_eq!(items, expected);
    let spaced = body.replace(": ", ":");
    for (header, body, refusal) in [
        (sign(SECRET, body), spaced.as_str(), "the signature is wrong"),
        (sign("wsec_other", body), body, "the signature is wrong"),
        (String::new(), body, "the signature is wrong"),
        ("t=1,v0=zz".to_owned(), body, "the signature is wrong"),
        (sign_at(body, jiff::Timestamp::now().as_second() - 31 * 3600), body, "the signature is too old"),
    ] {
        assert_eq!(run(&header, body).await, refusal, "{header}");
    }
    let late = sign_at(body, jiff::Timestamp::now().as_second() - 28 * 3600);
    assert!(run(&late, body).await.starts_with("[{"), "a delivery is repeated for 28 hours");
    let workflow: Value =
        serde_json::from_str(&std::fs::read_to_string(recipe("n8n.json")).unwrap()).unwrap();
    assert_eq!(
        workflow["nodes"][0]["parameters"]["options"]["rawBody"], true,
        "the bytes of the body are kept"
    );
}

/// The signature of ElevenLabs, made at `at`.
fn sign_at(body: &str, at: i64) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    format!("t={at},v0={}", hex::encode(mac.finalize().into_bytes()))
}
