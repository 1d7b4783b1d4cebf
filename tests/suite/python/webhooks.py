"""Reads webhooks with the official SDK and prints their types.

Each line of standard input is [body, signature, secret] in JSON.
"""

import json
import sys

from elevenlabs.client import ElevenLabs
from elevenlabs.types.get_conversation_response_model import GetConversationResponseModel

webhooks = ElevenLabs(api_key="none").webhooks
for line in sys.stdin:
    body, signature, secret = json.loads(line)
    event = webhooks.construct_event(rawBody=body, sig_header=signature, secret=secret)
    event = event if isinstance(event, dict) else json.loads(event.json())
    if event["type"] == "post_call_transcription":
        GetConversationResponseModel.model_validate(event["data"])
    print(event["type"])
