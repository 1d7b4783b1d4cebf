// A message in Slack for each call that failed.
//
// npm install standardwebhooks
// WEBHOOK_SECRET=whsec_… SLACK_URL=https://hooks.slack.com/services/… PORT=8000 node slack.mjs
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const FAILED = ["busy", "no_answer", "rejected", "unreachable", "failed"];
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
// Slack reads these three characters as markup.
const text = (value) => String(value).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

async function report(call) {
  const message = `Call ${text(call.callId ?? call.conversationId)} to ${text(call.toNumber ?? "an unknown number")} `
    + `by ${text(call.agentName ?? call.agentId ?? "an unknown agent")}: *${text(call.outcome)}*. `
    + text(call.failureReason ?? "");
  const answer = await fetch(process.env.SLACK_URL, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: message }),
  });
  if (!answer.ok) throw new Error(`Slack answered ${answer.status} ${await answer.text()}`);
}

createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch {
    return response.writeHead(401).end();
  }
  try {
    if (event.type === "call.outcome" && FAILED.includes(event.data.outcome)) await report(event.data);
    response.writeHead(204).end();
  } catch (error) {
    console.error(error.message);
    response.writeHead(502).end(); // Aftercall sends the event again.
  }
}).listen(process.env.PORT ?? 8000, "127.0.0.1");
