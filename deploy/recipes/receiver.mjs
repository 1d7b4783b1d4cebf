// npm install standardwebhooks
// WEBHOOK_SECRET=whsec_… PORT=8000 node receiver.mjs
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch {
    return response.writeHead(401).end();
  }
  console.log(event.type, event.data.callId, event.data.status);
  response.writeHead(204).end();
}).listen(process.env.PORT ?? 8000, "127.0.0.1");
