"""Uses the client that openapi-python-client made of the description."""

import json
import sys

from aftercall_client import AuthenticatedClient
from aftercall_client.api.calls import get_call, get_transcript, list_calls, place_call
from aftercall_client.models import Outcome, PhoneCall, PhoneCallMetadataType0

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
page = list_calls.sync(client=client, outcome=[Outcome.ANSWERED], limit=10)
call_id = page.calls[0].conversation_id
turns = get_transcript.sync(call_id, client=client)
metadata = PhoneCallMetadataType0.from_dict({"order": "7"})
call = PhoneCall("agent", "number", "+12025550101", metadata=metadata)
placed = place_call.sync(client=client, body=call)
unknown = get_call.sync("no-call", client=client)
print(json.dumps({
    "outcomes": [call.outcome.value for call in page.calls],
    "id": call_id,
    "firstTurn": turns.turns[0].message,
    "placed": placed.status.value,
    "code": unknown.code.value,
}))
