# A call log in HubSpot for each call that is over, on the record of the contact with this number.
#
# pip install standardwebhooks
# WEBHOOK_SECRET=whsec_… HUBSPOT_TOKEN=pat-… PORT=8000 python3 hubspot.py
#
# Needs a private app with the scopes crm.objects.contacts.read and crm.objects.contacts.write, and, once, a
# property of calls with unique values, by which a repeated event finds its call log:
#   curl https://api.hubapi.com/crm/v3/properties/calls -H "Authorization: Bearer $HUBSPOT_TOKEN" \
#     -H 'Content-Type: application/json' -d '{"name": "aftercall_id", "label": "Aftercall id",
#       "groupName": "callinformation", "type": "string", "fieldType": "text", "hasUniqueValue": true}'
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

HUBSPOT = os.environ.get("HUBSPOT_URL", "https://api.hubapi.com") + "/crm/v3/objects"
STATUS = {"answered": "COMPLETED", "voicemail": "COMPLETED", "busy": "BUSY", "no_answer": "NO_ANSWER", "canceled": "CANCELED"}
CALL_TO_CONTACT = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 194}


def hubspot(method, path, body):
    headers = {"Authorization": "Bearer " + os.environ["HUBSPOT_TOKEN"], "Content-Type": "application/json"}
    request = urllib.request.Request(HUBSPOT + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def contacts(number):
    wanted = [{"filters": [{"propertyName": name, "operator": "EQ", "value": number}]} for name in ("phone", "mobilephone")]
    return hubspot("POST", "/contacts/search", {"filterGroups": wanted, "limit": 1})["results"] if number else []


def log(call):
    inbound = call.get("direction") == "inbound"
    own_id = call.get("callId") or call.get("conversationId")
    properties = {
        "aftercall_id": own_id,
        "hs_timestamp": call.get("startedAt") or call["createdAt"],
        "hs_call_title": f"Call by {call.get('agentName') or 'an agent'}: {call['outcome']}",
        "hs_call_body": call.get("summary") or call.get("failureReason") or "",
        "hs_call_direction": "INBOUND" if inbound else "OUTBOUND",
        "hs_call_duration": str(call.get("durationSecs", 0) * 1000),
        "hs_call_from_number": call.get("fromNumber", ""),
        "hs_call_to_number": call.get("toNumber", ""),
        "hs_call_status": STATUS.get(call["outcome"], "FAILED"),
    }
    try:
        known = urllib.parse.quote(own_id, safe="")
        return hubspot("PATCH", f"/calls/{known}?idProperty=aftercall_id", {"properties": properties})
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
    found = contacts(call.get("fromNumber" if inbound else "toNumber"))
    associations = [{"to": {"id": contact["id"]}, "types": [CALL_TO_CONTACT]} for contact in found]
    hubspot("POST", "/calls", {"properties": properties, "associations": associations})


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            return self.answer(401)
        try:
            if event["type"] == "call.outcome":
                log(event["data"])
        except OSError as error:
            print("HubSpot:", error, flush=True)
            return self.answer(502)  # Aftercall sends the event again.
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8000))), Receiver).serve_forever()
