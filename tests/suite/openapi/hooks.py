"""Signs the callbacks of Twilio, and checks the code of each problem."""

import base64
import hashlib
import hmac
import os
from urllib.parse import parse_qsl

import requests
import schemathesis

class TwilioSignature(requests.auth.AuthBase):
    """Signs the request as it is sent: the signature depends on its URL and on every parameter of its form."""

    def __call__(self, request):
        body = request.body or b""
        form = body.encode() if isinstance(body, str) else body
        parameters = sorted(parse_qsl(form.decode("utf-8", "replace"), keep_blank_values=True))
        signed = request.url + "".join(name + value for name, value in parameters)
        digest = hmac.new(os.environ["TWILIO_TOKEN"].encode(), signed.encode(), hashlib.sha1).digest()
        request.headers["X-Twilio-Signature"] = base64.b64encode(digest).decode()
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    """Signs a request that has the valid signature by the configuration. Others test wrong signatures."""
    if (case.headers or {}).get("X-Twilio-Signature") == os.environ["TO_BE_SIGNED"]:
        kwargs["auth"] = TwilioSignature()


@schemathesis.check
def code_is_described(ctx, response, case):
    """The description of a status lists every code that comes with it."""
    if response.headers.get("content-type") != ["application/problem+json"]:
        return
    code = response.json()["code"]
    described = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    # Another method than the described one.
    if response.status_code != 405:
        assert f"`{code}`" in described.get("description", ""), f"{response.status_code} {code} is not described"
