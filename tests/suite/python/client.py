"""Uses the simulated API with the official SDK, whose models must accept every answer.

usage: client.py BASE_URL. Prints one line of JSON for each dialled call.
"""

import json
import sys

from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

client = ElevenLabs(api_key="simulated", base_url=sys.argv[1])
agents = client.conversational_ai


def checked(answer):
    """Validates an answer with the model of the SDK, because the SDK itself accepts invalid answers."""
    type(answer).model_validate(json.loads(answer.json()))
    return answer


def refused(status, call):
    try:
        call()
    except ApiError as error:
        assert error.status_code == status, error
        return
    raise AssertionError(f"expected {status}")


# Webhooks: created with a secret, changed, listed, bound, deleted.
from elevenlabs.types.webhook_hmac_settings import WebhookHmacSettings

url = "https://hooks.example.com/api/webhooks/elevenlabs/call-status"
made = checked(client.webhooks.create(settings=WebhookHmacSettings(name="one", webhook_url=url)))
assert made.webhook_secret.startswith("wsec_")
checked(client.webhooks.update(webhook_id=made.webhook_id, is_disabled=False, name="two", retry_enabled=True))
listed = checked(client.webhooks.list(include_usages=False)).webhooks
assert [hook.name for hook in listed if hook.webhook_id == made.webhook_id] == ["two"]
binding = {"post_call_webhook_id": made.webhook_id, "events": ["transcript", "call_initiation_failure"]}
before = checked(agents.settings.get())
after = checked(agents.settings.update(webhooks=binding))
assert after.webhooks.post_call_webhook_id == made.webhook_id
checked(agents.settings.update(webhooks=json.loads(before.webhooks.json())))
overrides = {"workspace_overrides": {"webhooks": binding}}
agents.agents.update(agent_id="agent_own", platform_settings=overrides)
own = agents.agents.get(agent_id="agent_own").platform_settings.workspace_overrides.webhooks
assert own.post_call_webhook_id == made.webhook_id
checked(client.webhooks.delete(webhook_id=made.webhook_id))
refused(404, lambda: client.webhooks.delete(webhook_id=made.webhook_id))

# Calls of both carriers, with every outcome.
calls = []
for ending in range(6):
    for api, key in [(agents.twilio, "call_sid"), (agents.sip_trunk, "sip_call_id")]:
        answer = checked(api.outbound_call(
            agent_id="agent_1", agent_phone_number_id="phnum_1", to_number=f"+1500555010{ending}"[:12],
            conversation_initiation_client_data={"dynamic_variables": {"order": str(ending)}}))
        assert answer.success and answer.conversation_id
        calls.append(answer.conversation_id)
refused(404, lambda: agents.twilio.outbound_call(
    agent_id="agent_missing", agent_phone_number_id="p", to_number="+15005550100"))
refused(422, lambda: agents.twilio.outbound_call(agent_id="a", agent_phone_number_id="", to_number="+15"))

# A batch: submitted and read, with a recipient that is never dialled.
from elevenlabs.types.outbound_call_recipient import OutboundCallRecipient

numbers = ["+15005550200", "+15005550298"]
batch = checked(agents.batch_calls.create(
    call_name="May", agent_id="agent_1", agent_phone_number_id="phnum_1",
    recipients=[OutboundCallRecipient(phone_number=number) for number in numbers]))
recipients = checked(agents.batch_calls.get(batch_id=batch.id)).recipients
assert [recipient.phone_number for recipient in recipients] == numbers
assert recipients[1].status == "pending" and recipients[1].conversation_id is None
of_batch = checked(agents.conversations.get(conversation_id=recipients[0].conversation_id)).metadata.batch_call
assert (of_batch.batch_call_id, of_batch.batch_call_recipient_id) == (batch.id, recipients[0].id)
calls.append(recipients[0].conversation_id)
refused(404, lambda: agents.batch_calls.get(batch_id="btcal_none"))

# Conversations: read during the calls, and listed in pages.
for conversation in calls:
    checked(agents.conversations.get(conversation_id=conversation))
seen, cursor = [], None
while True:
    page = checked(agents.conversations.list(page_size=5, **({"cursor": cursor} if cursor else {})))
    seen += [summary.conversation_id for summary in page.conversations]
    if not page.has_more:
        break
    cursor = page.next_cursor
assert sorted(seen) == sorted(calls), (seen, calls)
refused(404, lambda: b"".join(agents.conversations.audio.get(conversation_id="conv_none")))
print("\n".join(json.dumps(call) for call in calls))
