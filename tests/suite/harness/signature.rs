//! Signatures of ElevenLabs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{requests::CALL_STATUS, stack::TestStack};

/// The webhook secret of the tests.
pub const SECRET: &str = "wsec_0123456789";

/// The value of `ElevenLabs-Signature` for `body`, signed now.
pub fn sign(secret: &str, body: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    format!("t={now},v0={}", hex::encode(mac.finalize().into_bytes()))
}

/// Posts `body` with a signature by `secret`. Returns the status of the response.
pub async fn post_signed(stack: &TestStack, secret: &str, body: &str) -> u16 {
    let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(body.to_owned());
    stack.send(request.header("elevenlabs-signature", sign(secret, body))).await.status
}
