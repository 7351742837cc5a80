"""A client of the API, on what openapi-python-client generated as the package payment_api."""

import datetime
import os
import uuid

import httpx
from payment_api import AuthenticatedClient
from payment_api.api.payments import get_payment, list_payments, submit_payment
from payment_api.models import Accepted, Account, AccountSchemeName, Error, ErrorCode, Payment, PaymentDuplicate
from payment_api.models import PaymentList, PaymentRefused, PaymentRefusedReason, PaymentStored, RemittanceInformation
from payment_api.models import TooLarge
from payment_api.types import UNSET

API, TOKEN, USER = os.environ["REMIT_API"], os.environ["REMIT_TOKEN"], uuid.UUID(os.environ["REMIT_USER"])

# How long an answer may be waited for: the API itself waits 25 s for an outcome.
TIMEOUT = httpx.Timeout(60)


def client(token: str = TOKEN) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=API, token=token, timeout=TIMEOUT, raise_on_unexpected_status=True)


def payment(currency: str) -> Payment:
    return Payment(
        payment_id=uuid.uuid4(), user_id=USER, amount="10.50", currency=currency, description="Invoice 4711",
        creditor_account=Account(scheme_name=AccountSchemeName.UK_OBIE_IBAN, identification="GB33BUKB20201555555555"),
        remittance_information=RemittanceInformation(unstructured=["Goods delivered"]),
        requested_execution_date=datetime.date.today() + datetime.timedelta(days=7))


def submitted(body: Payment) -> Accepted:
    answer = submit_payment.sync(client=client(), body=body)
    assert isinstance(answer, Accepted), answer
    return answer


def a_payment_is_submitted_waited_for_and_read() -> None:
    sent = payment("GBP")
    accepted = submitted(sent)
    outcome = get_payment.sync(sent.payment_id, client=client(), request_id=accepted.request_id, wait=25)
    assert isinstance(outcome, PaymentStored), outcome
    assert outcome.request_id == accepted.request_id and outcome.body_md_5 == accepted.body_md_5
    assert outcome.decided_at >= outcome.accepted_at
    assert outcome.payment.to_dict() == sent.to_dict(), outcome.payment
    assert not isinstance(outcome.payment.requested_execution_date, type(UNSET))
    again = submitted(sent)
    outcome = get_payment.sync(sent.payment_id, client=client(), request_id=again.request_id, wait=25)
    assert isinstance(outcome, PaymentDuplicate) and outcome.request_id == again.request_id, outcome
    page = list_payments.sync(client=client())
    assert isinstance(page, PaymentList) and any(one.payment_id == sent.payment_id for one in page.payments), page


def a_refusal_says_why() -> None:
    sent = payment("XXX")
    accepted = submitted(sent)
    outcome = get_payment.sync(sent.payment_id, client=client(), request_id=accepted.request_id, wait=25)
    assert isinstance(outcome, PaymentRefused), outcome
    assert outcome.reason is PaymentRefusedReason.INVALID and outcome.fields == ["currency"], outcome


def errors_have_their_code() -> None:
    unknown = get_payment.sync(uuid.uuid4(), client=client())
    assert isinstance(unknown, Error) and unknown.code is ErrorCode.NOT_FOUND, unknown
    denied = submit_payment.sync(client=client("x.y.z"), body=payment("GBP"))
    assert isinstance(denied, Error) and denied.code is ErrorCode.UNAUTHORIZED, denied


def an_answer_of_api_gateways_own_is_read() -> None:
    """A deployed API Gateway answers 413 with a body that cannot be changed."""
    answers = httpx.MockTransport(lambda _: httpx.Response(413, json={"message": "Request Too Long"}))
    too_large = client().set_httpx_client(httpx.Client(base_url=API, transport=answers))
    answer = submit_payment.sync(client=too_large, body=payment("GBP"))
    assert isinstance(answer, TooLarge) and answer.message == "Request Too Long" and answer.code is UNSET, answer


a_payment_is_submitted_waited_for_and_read()
a_refusal_says_why()
errors_have_their_code()
an_answer_of_api_gateways_own_is_read()
