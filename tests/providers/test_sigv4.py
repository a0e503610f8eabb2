"""Our signatures are those of botocore, which signs for everybody else."""

from datetime import UTC, datetime

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from postroom.providers.sigv4 import Signer, derived_key

AT = datetime(2026, 11, 20, 23, 59, 58, tzinfo=UTC)
JSON = {"content-type": "application/json"}
HOST = "https://email.us-east-1.amazonaws.com"
SEND = f"{HOST}/v2/email/outbound-emails"

CASES = [
    ("POST", SEND, JSON, b"{}"),
    ("POST", SEND, JSON, b'{"Content": {}}' * 1000),
    ("POST", SEND, JSON, '{"Subject": "Grüße, 日本"}'.encode()),
    ("POST", SEND, {}, b""),
    ("GET", f"{HOST}/v2/email/account", {}, b""),
    ("GET", f"{HOST}/", {}, b""),
    ("GET", HOST, {}, b""),
    ("GET", f"{HOST}/v2/email/configuration-sets/my-set", {}, b""),
    ("GET", f"{HOST}/v2/email/configuration-sets/my%20set", {}, b""),
    ("GET", f"{HOST}/v2/email/templates/a%2Fb%3Ac", {}, b""),
    ("GET", f"{HOST}/v2/email/templates/%E6%97%A5%E6%9C%AC", {}, b""),
    ("GET", f"{HOST}/v2/email/identities/jane%40clinic.test", {}, b""),
    ("GET", f"{HOST}/v2/email/templates?PageSize=10", {}, b""),
    ("GET", f"{HOST}/v2/email/templates?PageSize=10&NextToken=a%2Bb%3D", {}, b""),
    ("GET", f"{HOST}/v2/email/templates?b=2&a=1&a=0", {}, b""),
    ("GET", f"{HOST}/v2/email/templates?empty=&a=1", {}, b""),
    ("DELETE", f"{HOST}/v2/email/templates/x~y.z_1", {}, b""),
    ("PUT", f"{HOST}/v2/email/templates/x", JSON, b'{"a":1}'),
    ("POST", "http://127.0.0.1:5155/v2/email/outbound-emails", JSON, b"{}"),
    ("POST", SEND, JSON | {"x-custom": "  two   words  "}, b"{}"),
    ("POST", SEND, JSON | {"X-Upper": "Case"}, b"{}"),
]


@pytest.mark.parametrize("token", [None, "IQoJb3JpZ2luX2VjEA//token=="])
@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_signature_is_the_one_that_botocore_makes(monkeypatch, case, token):
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: AT.replace(tzinfo=None))
    method, url, headers, body = case
    keys = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    request = AWSRequest(method, url, headers=headers, data=body)
    SigV4Auth(Credentials(*keys, token), "ses", "us-east-1").add_auth(request)
    ours = Signer(*keys, token, "us-east-1", "ses").headers(method, url, headers, body, AT)
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]
    assert ours["authorization"] == request.headers["Authorization"]


def test_another_day_region_or_secret_is_another_key():
    keys = {
        derived_key("secret", "20261120", "us-east-1", "ses", "aws4_request"),
        derived_key("secret", "20261121", "us-east-1", "ses", "aws4_request"),
        derived_key("secret", "20261120", "eu-west-1", "ses", "aws4_request"),
        derived_key("other", "20261120", "us-east-1", "ses", "aws4_request"),
    }
    assert len(keys) == 4
