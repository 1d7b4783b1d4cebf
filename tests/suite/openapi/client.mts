// Uses the types that openapi-typescript made of the description. The compiler checks them; Node.js runs the program.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.d.ts";

const [baseUrl, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

const list = await client.GET("/api/agent-calls", { params: { query: { outcome: ["answered"], limit: 10 } } });
const outcomes: (components["schemas"]["Outcome"] | undefined)[] = (list.data?.calls ?? []).map((call) => call.outcome);
const id = list.data?.calls[0]?.conversationId ?? "";
const turns = await client.GET("/api/agent-calls/{id}/transcript", { params: { path: { id } } });
const placed = await client.POST("/api/agent-calls", {
  body: { agentId: "agent", agentPhoneNumberId: "number", toNumber: "+12025550100", metadata: { order: "7" } },
});
// @ts-expect-error A misspelt field does not compile; the gateway refuses it, too.
const wrong = await client.POST("/api/agent-calls", { body: { agentID: "agent" } });
const code: components["schemas"]["Problem"]["code"] | undefined = wrong.error?.code;
console.log(JSON.stringify({
  outcomes, id, firstTurn: turns.data?.turns[0]?.message, placed: placed.data?.status, code,
}));
