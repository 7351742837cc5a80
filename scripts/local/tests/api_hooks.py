"""What schemathesis cannot know of the API: whose payments the token submits, which there are to ask for, where
a page begins, and that nobody wants to wait through thousands of waits."""

import os

import schemathesis

USER = os.environ["REMIT_USER"]
WAITS_MAX = 20

known, pages = [], []
waits = 0


@schemathesis.hook
def before_call(context, case, kwargs):
    global waits
    query = case.query or {}
    if str(query.get("wait", "")).isdigit() and 0 < int(query["wait"]) <= 25:
        waits += 1
        query["wait"] = 1 if waits <= WAITS_MAX else 0
    if pages and isinstance(query.get("cursor"), str) and len(query["cursor"]) % 2:
        query.clear()
        query.update(pages[-1])
    if isinstance(case.body, dict) and isinstance(case.body.get("userId"), str) and len(case.body["userId"]) == 36:
        case.body["userId"] = USER
        known.append(case.body.get("paymentId"))
    if known and "paymentId" in (case.path_parameters or {}) and len(known) % 2:
        case.path_parameters["paymentId"] = known[-1]


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code == 200 and case.path == "/payments":
        cursor = response.json().get("cursor")
        if cursor:
            pages.append({**(case.query or {}), "cursor": cursor})
