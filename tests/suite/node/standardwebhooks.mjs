// Checks requests with the official library of Standard Webhooks.
//
// Each line of standard input is {"secret", "headers", "body"} in JSON. Prints `accepted` or `refused` for each.

import { readFileSync } from "node:fs";

import { Webhook, WebhookVerificationError } from "standardwebhooks";

for (const line of readFileSync(0, "utf8").split("\n")) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log("accepted");
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log("refused");
  }
}
