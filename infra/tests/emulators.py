"""What emulators of AWS make of the deployed document, the packaged functions and the roles.

    emulators.py ministack|localstack FACTS

Run by scripts/check-emulators, which has started the emulator and written FACTS, with a Python that has
botocore and PyYAML. The same requests go to the emulator and to the local pipeline, and the same calls are made as
each role; where an answer is not as it should be, emulators.md says so, and a difference that it does not list, or
that is no longer there, fails.
"""

import base64
import functools
import hashlib
import http.client
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid

import botocore.exceptions
import botocore.session
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = ROOT / "target" / "debug"

sys.path.insert(0, str(ROOT / "scripts" / "local" / "tests"))
import api as local

# Texts that break whoever forgets to encode, decode or leave alone.
HOSTILE = ["&Action=DeleteQueue", "O'Brien & Sons", "$input.body $input.params('x') ${context.stage}", "#set($a = 1)#if(1)#end ##",
           "%26 %2B %25 %", "a+b c", "\U0001f600 \U0001f469\u200d\U0001f467", "\u202e\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
           "one\ntwo\r\n\tthree", "\"quoted\" \\ \\n \\u0041 /", "=?&MessageBody=x&MessageAttribute.1.Name=sub", "<a href='x'>&amp;</a>", "e\u0301 \u00e9"]

SECONDS_MAX = 90


def main():
    name, facts = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
    {"ministack": ministack, "localstack": localstack}[name](facts)


def ministack(facts):
    """The whole way of a payment. MiniStack imports no document, so that it goes in call by call."""
    adapt_policies(facts)
    document = yaml.safe_load(facts["document"])
    for operation in operations(document):
        for templates in templates_of(operation):
            templates.update({kind: simplified(template) for kind, template in templates.items()})
    gateway = f"{facts['url']}/_aws/execute-api/{put_in(document)}/live"
    token = signed_in(facts)
    user = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["sub"]
    listed_differences("MiniStack", gateway, token, user, reads=True, bare=False)

    sent = []
    for body in hostile(user):
        accepted(gateway, token, body)
        sent.append(body)
    for body in sent:
        found = decided(gateway, token, body)
        expect(found["status"] == "stored" and found["payment"] == json.loads(body), f"{body} became {found}")
        expect(found["bodyMd5"] == md5(body), f"other bytes arrived than were sent: {body}")
    print(f"MiniStack: {len(sent)} hostile bodies stored byte for byte")

    foreign = payment(str(uuid.uuid4()))
    accepted(gateway, token, foreign)
    found = decided(gateway, token, foreign)
    expect((found["status"], found.get("reason")) == ("refused", "owner_mismatch"),
           f"somebody else's payment became {found}")
    dead_and_sent_back(facts, gateway, token, user)
    roles_are_judged("MiniStack", facts)


def adapt_policies(facts):
    """Three things are otherwise on MiniStack than on AWS: aws:PrincipalArn of a role's session is the session's ARN
    and not the role's, API Gateway sends as the account and not as the gateway's role, and a batch is an action of
    its own."""
    identities = client("iam")
    for url in (facts["queue"], facts["dead"]):
        put_queue_policy(url, sessions_named(facts, queue_policy(url)))
    operator = identities.get_role(RoleName=named(facts, "operator"))["Role"]["AssumeRolePolicyDocument"]
    trusted = json.dumps(sessions_named(facts, operator))
    identities.update_assume_role_policy(RoleName=named(facts, "operator"), PolicyDocument=trusted)
    for role in MAY:
        policy = policy_of(facts, role)
        for statement in policy["Statement"]:
            actions = listed(statement["Action"])
            statement["Action"] = actions + [f"{action}Batch" for action in actions if action in BATCHED]
        put_policy(facts, role, policy)


# What MiniStack asks for again, with "Batch" at the end, when several messages are meant.
BATCHED = ("sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")


def sessions_named(facts, policy):
    """The policy with its sessions beside each role that it names, and the account beside the gateway's."""
    for statement in policy["Statement"]:
        for asked in statement.get("Condition", {}).values():
            roles = listed(asked.get("aws:PrincipalArn", []))
            sessions = [role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/*" for role in roles]
            account = [f"arn:aws:iam::{facts['account']}:root"] if facts["roles"]["gateway"] in roles else []
            if roles:
                asked["aws:PrincipalArn"] = [*roles, *sessions, *account]
    return policy


def dead_and_sent_back(facts, gateway, token, user):
    """While the table is away a payment dies with its reason, and is stored when it is sent back."""
    tables, queues = client("dynamodb"), client("sqs")
    table = tables.describe_table(TableName=facts["payments"])["Table"]
    kept = ("TableName", "AttributeDefinitions", "KeySchema")
    indexes = [{key: index[key] for key in ("IndexName", "KeySchema", "Projection")} for index in table["GlobalSecondaryIndexes"]]
    tables.delete_table(TableName=facts["payments"])
    body = payment(user, "Dies \u2620 & comes back")
    answer = accepted(gateway, token, body)

    [letter] = until("the payment is dead", lambda: queues.receive_message(
        QueueUrl=facts["dead"], VisibilityTimeout=0, WaitTimeSeconds=1, MessageAttributeNames=["All"]).get("Messages"))
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    expect(letter["Body"].encode() == body, f"another body died: {letter['Body']}")
    expect((attributes["sub"], attributes["requestId"]) == (user, answer["requestId"]), f"attributes were lost: {attributes}")
    expect("deadLetter" in attributes, f"it died without a reason: {attributes}")
    reason = json.loads(attributes["deadLetter"])
    expect(reason["reason"] and reason["receiveCount"], f"it died without a reason: {reason}")

    tables.create_table(**{key: table[key] for key in kept}, GlobalSecondaryIndexes=indexes, BillingMode="PAY_PER_REQUEST")
    operator = dict(os.environ, **variables(operating(facts)))
    with tempfile.TemporaryDirectory() as state:
        command = [PROGRAMS / "ops", "dlq", "redrive", "--no-follow", "--yes", "--region", facts["region"],
                   "--queue-url", facts["queue"], "--dead-letter-queue-url", facts["dead"]]
        for _ in range(2):
            done = subprocess.run(command, env=dict(operator, XDG_STATE_HOME=state), capture_output=True, text=True,
                                  timeout=SECONDS_MAX)
            expect(done.returncode == 0, f"the re-drive failed: {done.stdout}{done.stderr}")
    found = decided(gateway, token, body)
    expect((found["status"], found["requestId"]) == ("stored", answer["requestId"]), f"sent back it became {found}")
    print(f"MiniStack: dead with the reason {reason['reason']}, stored after the re-drive")


def localstack(facts):
    """The import, and what the template makes of a body. LocalStack has no authorizers, so a user stands in for the
    claim."""
    user = str(uuid.uuid4())
    document = facts["document"].replace("$context.authorizer.claims.sub", f"'{user}'")
    submit = yaml.safe_load(document)["paths"]["/submit"]["put"]["x-amazon-apigateway-integration"]
    names = set(re.findall(r"MessageAttribute\.\d+\.Name=(\w+)", submit["requestTemplates"]["application/json"]))
    listed_differences("LocalStack", imported(facts, document), "none", user, reads=False, bare=True)
    count = queued_byte_for_byte(facts, document, user, names)
    print(f"LocalStack: {count} hostile bodies queued byte for byte, each with {', '.join(sorted(names))}")
    for pattern, new, sentence in TEMPLATE_FAULTS:
        weaker = re.sub(pattern, new, document)
        expect(weaker != document, f"the template no longer contains {pattern}")
        said = failure_of(lambda: queued_byte_for_byte(facts, weaker, user, names))
        expect(sentence in said, f"a weaker template was found for another reason than that {sentence}: {said}")
    print(f"LocalStack: {len(TEMPLATE_FAULTS)} weaker templates were found")


# How a template could spoil a payment, and what must be said of it: the user left out, the body written anew, and
# the body not encoded, so that it ends at its first '&'.
TEMPLATE_FAULTS = [
    (r" +&MessageAttribute\.1\..*\n", "", "the template names"),
    (r"\$input\.body", "$input.json('$')", "other bytes were queued"),
    (r"\$util\.urlEncode\(\$input\.body\)", "$input.body", "other bytes were queued"),
]


def imported(facts, document):
    """The document as an API of its own, before an empty queue; gives where it is called."""
    queues, gateways = client("sqs"), client("apigateway")
    queues.purge_queue(QueueUrl=queues.create_queue(QueueName=facts["queue"])["QueueUrl"])
    made = gateways.import_rest_api(body=document.encode(), failOnWarnings=True)
    expect(not made.get("warnings"), f"the import warns: {made.get('warnings')}")
    gateways.create_deployment(restApiId=made["id"], stageName="live")
    return f"{facts['url']}/_aws/execute-api/{made['id']}/live"


def queued_byte_for_byte(facts, document, user, names):
    """Sends hostile bodies and compares what is queued with them; gives how many."""
    gateway, queues = imported(facts, document), client("sqs")
    queue = queues.get_queue_url(QueueName=facts["queue"])["QueueUrl"]
    for count, body in enumerate(hostile(user), 1):
        answer = accepted(gateway, "none", body)
        [message] = queues.receive_message(QueueUrl=queue, WaitTimeSeconds=5, MessageAttributeNames=["All"])["Messages"]
        expect(message["Body"].encode() == body, f"sent {body}, queued {message['Body'].encode()}")
        attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
        expect(set(attributes) == names and all(attributes.values()),
               f"the template names {names}, queued were {attributes}")
        expect((attributes["sub"], attributes["requestId"]) == (user, answer["requestId"]), f"queued were {attributes}")
        queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return count


# What each role may do. The emulator judges every call by the role's policy and the queue's own.


def calls(facts):
    """What is asked as each role, by name: service, method, parameters."""
    queue, dead = {"QueueUrl": facts["queue"]}, {"QueueUrl": facts["dead"]}
    payments, refusals = {"TableName": facts["payments"]}, {"TableName": facts["refusals"]}
    payment = {"paymentId": {"S": "none"}, "userId": {"S": "none"}}
    refusal = {"paymentId#requestId": {"S": "none"}, "userId": {"S": "none"}}
    of_user = {"KeyConditionExpression": "userId = :user", "ExpressionAttributeValues": {":user": {"S": "none"}}}
    of_payment = {"KeyConditionExpression": "paymentId = :id", "ExpressionAttributeValues": {":id": {"S": "none"}}}
    dry = {"InvocationType": "DryRun"}
    asked = {
        "move dead letters": ("sqs", "start_message_move_task", {"SourceArn": facts["dead_arn"],
                                                                 "DestinationArn": facts["queue_arn"]}),
        "list moves": ("sqs", "list_message_move_tasks", {"SourceArn": facts["dead_arn"]}),
        "get payments": ("dynamodb", "get_item", {**payments, "Key": payment}),
        "get many payments": ("dynamodb", "batch_get_item", {"RequestItems": {facts["payments"]: {"Keys": [payment]}}}),
        "query payments": ("dynamodb", "query", {**payments, **of_payment}),
        "query payments of a user": ("dynamodb", "query", {**payments, **of_user, "IndexName": "byUser"}),
        "put payments": ("dynamodb", "put_item", {**payments, "Item": payment}),
        "update payments": ("dynamodb", "update_item", {**payments, "Key": payment}),
        "delete payments": ("dynamodb", "delete_item", {**payments, "Key": payment}),
        "scan payments": ("dynamodb", "scan", payments),
        "get refusals": ("dynamodb", "get_item", {**refusals, "Key": refusal}),
        "query refusals": ("dynamodb", "query", {**refusals, **of_user}),
        "query refusals of a user": ("dynamodb", "query", {**refusals, **of_user, "IndexName": "byUser"}),
        "query what is held": ("dynamodb", "query", {**refusals, **of_user, "IndexName": "held"}),
        "put refusals": ("dynamodb", "put_item", {**refusals, "Item": refusal}),
        "update refusals": ("dynamodb", "update_item", {**refusals, "Key": refusal}),
        "delete refusals": ("dynamodb", "delete_item", {**refusals, "Key": refusal}),
        "scan refusals": ("dynamodb", "scan", refusals),
        "scan what is held": ("dynamodb", "scan", {**refusals, "IndexName": "held"}),
        "ask query-payments": ("lambda", "invoke", {"FunctionName": facts["query_arn"], **dry}),
        "call submit-payments": ("lambda", "invoke", {"FunctionName": facts["submit_arn"], **dry}),
        "ask about query-payments": ("lambda", "get_policy", {"FunctionName": facts["query_arn"]}),
    }
    handle = {"ReceiptHandle": "none"}
    for name, where in (("queue", queue), ("dead letters", dead)):
        asked |= {
            f"send: {name}": ("sqs", "send_message", {**where, "MessageBody": "none"}),
            f"receive: {name}": ("sqs", "receive_message", {**where, "VisibilityTimeout": 0, "WaitTimeSeconds": 0}),
            f"hold: {name}": ("sqs", "change_message_visibility", {**where, **handle, "VisibilityTimeout": 0}),
            f"delete: {name}": ("sqs", "delete_message", {**where, **handle}),
            f"count: {name}": ("sqs", "get_queue_attributes", {**where, "AttributeNames": ["All"]}),
            f"purge: {name}": ("sqs", "purge_queue", where),
        }
    return asked


# Of these calls, all that a role may make. An administrator may do anything, but the queues' own policies let
# nobody send who could forge a payment's user.
MAY = {
    "gateway": {"send: queue", "ask query-payments"},
    "submit_payments": {"receive: queue", "hold: queue", "delete: queue", "count: queue", "send: dead letters",
                        "put payments", "get payments", "put refusals"},
    "query_payments": {"get payments", "get many payments", "query payments of a user", "get refusals",
                       "query refusals", "query refusals of a user", "query what is held"},
    "operator": {"send: queue", "count: queue", "receive: dead letters", "hold: dead letters", "delete: dead letters",
                 "count: dead letters", "move dead letters", "list moves", "get payments", "get many payments",
                 "query payments", "query payments of a user", "get refusals", "query refusals",
                 "query refusals of a user", "query what is held", "put refusals", "scan what is held"},
}


def roles_are_judged(emulator, facts):
    """Who may call what, and that this check would notice another policy."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    administrator = session(role_of_our_own("administrator", facts, everything))
    take = ("sts", "assume_role", {"RoleArn": facts["roles"]["operator"], "RoleSessionName": "check"})
    expect(not permits(administrator, take), f"{emulator}: an administrator may take the operator's role")
    for name, url in (("send: queue", facts["queue"]), ("send: dead letters", facts["dead"])):
        expect(not permits(administrator, calls(facts)[name]), f"{emulator}: an administrator may {name}")
        policy = queue_policy(url)
        put_queue_policy(url, {**policy, "Statement": []})
        expect(permits(administrator, calls(facts)[name]), f"{emulator}: the queue's policy was not what refused {name}")
        put_queue_policy(url, policy)
    sessions = {role: taken(facts, role) for role in MAY}
    found = {(f"{role}: {name}", *(("may", "may not") if name in may else ("may not", "may")))
             for role, may in MAY.items() for name in wrong(facts, role, sessions[role], calls(facts))}
    compare(emulator, found, {row for row in differences(emulator) if row[0].split(": ")[0] in MAY})
    known = {row[0] for row in found}
    count = sum(weaker_policies_are_noticed(facts, role, sessions[role], known) for role in MAY)
    print(f"{emulator}: {len(MAY)} roles may make their own of {len(calls(facts))} calls and no others, but for "
          f"{len(found)} listed differences; {count} weaker policies were noticed")


def taken(facts, role):
    """A session of a role of infra/."""
    if role == "operator":
        return operating(facts)
    # Only a service may take these roles, and nobody here is one.
    client("iam").update_assume_role_policy(RoleName=named(facts, role), PolicyDocument=trust(facts))
    return session(facts["roles"][role])


def wrong(facts, role, credentials, names):
    """Which of these calls the role may make and should not, or the other way round."""
    return (name for name in names if permits(credentials, calls(facts)[name]) != (name in MAY[role]))


def weaker_policies_are_noticed(facts, role, credentials, known):
    """Gives how many there were."""
    policy, count = policy_of(facts, role), 0
    names = [name for name in calls(facts) if f"{role}: {name}" not in known]
    for count, (changed, how) in enumerate(weaker(policy), 1):
        put_policy(facts, role, changed)
        expect(any(wrong(facts, role, credentials, names)), f"nobody noticed {role} {how}")
    put_policy(facts, role, policy)
    return count


def weaker(policy):
    """The policy without each of its statements, and with each opened to all of its service."""
    for place, statement in enumerate(policy["Statement"]):
        actions = listed(statement["Action"])
        service = actions[0].split(":")[0]
        if service in ("sqs", "dynamodb", "lambda"):
            others = [other for number, other in enumerate(policy["Statement"]) if number != place]
            yield {**policy, "Statement": others}, f"without {statement['Sid']}"
            wide = {**statement, "Action": f"{service}:*", "Resource": "*"}
            yield {**policy, "Statement": [*others, wide]}, f"with {service}:* for {statement['Sid']}"


def permits(credentials, call):
    """Whether somebody may make a call; how it ends otherwise is not asked."""
    service, method, parameters = call
    try:
        getattr(client(service, credentials), method)(**parameters)
    except botocore.exceptions.ClientError as error:
        return "AccessDenied" not in error.response["Error"]["Code"]
    return True


def policy_of(facts, role):
    """The one policy in a role."""
    [name] = client("iam").list_role_policies(RoleName=named(facts, role))["PolicyNames"]
    return client("iam").get_role_policy(RoleName=named(facts, role), PolicyName=name)["PolicyDocument"]


def put_policy(facts, role, policy):
    [name] = client("iam").list_role_policies(RoleName=named(facts, role))["PolicyNames"]
    client("iam").put_role_policy(RoleName=named(facts, role), PolicyName=name, PolicyDocument=json.dumps(policy))


def queue_policy(url):
    found = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    return json.loads(found["Attributes"]["Policy"])


def put_queue_policy(url, policy):
    client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})


def listed(value):
    """One or several, as a list: policies have both."""
    return [value] if isinstance(value, str) else list(value)


def operating(facts):
    """The operator's session, come by as an operator comes by it: from a role of the identity provider."""
    return session(facts["roles"]["operator"], session(role_of_our_own("on-call", facts, {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": facts["roles"]["operator"]})))


def role_of_our_own(name, facts, statement):
    """A role that infra/ does not make, which the account itself may take."""
    identities = client("iam")
    try:
        identities.create_role(RoleName=name, AssumeRolePolicyDocument=trust(facts))
    except identities.exceptions.EntityAlreadyExistsException:
        pass
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    identities.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
    return f"arn:aws:iam::{facts['account']}:role/{name}"


def trust(facts):
    """The account itself may take the role."""
    account = {"AWS": f"arn:aws:iam::{facts['account']}:root"}
    statement = {"Effect": "Allow", "Principal": account, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def session(role, credentials=None):
    """Credentials of a role, in the names that botocore and, in capitals, the environment have for them."""
    made = client("sts", credentials).assume_role(RoleArn=role, RoleSessionName="check")["Credentials"]
    return {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"],
            "aws_session_token": made["SessionToken"]}


def variables(credentials):
    return {name.upper(): value for name, value in credentials.items()}


def named(facts, role):
    return facts["roles"][role].rsplit("/", 1)[1]


# The same requests to both, and what differs.


def cases(user, reads):
    """Requests by name: method, path, headers that differ from a good one's, body."""
    json_type, put = "application/json", lambda headers, body: ("PUT", "/submit", headers, body)
    changed = lambda **changes: json.dumps({**json.loads(payment(user)), **changes}).encode()
    lacking = {f"without {name}": put({}, json.dumps({key: value for key, value in json.loads(payment(user)).items() if key != name}).encode())
               for name in json.loads(payment(user))}
    asked = {
        "a good payment": put({}, payment(user)),
        "no token": put({"Authorization": None}, payment(user)),
        "a garbled token": put({"Authorization": "Bearer a.b.c"}, payment(user)),
        "no content type": put({"Content-Type": None}, payment(user)),
        "charset=utf-8": put({"Content-Type": f"{json_type}; charset=utf-8"}, payment(user)),
        "charset=UTF-8 without a blank": put({"Content-Type": f"{json_type};charset=UTF-8"}, payment(user)),
        "charset=utf-8, not a payment": put({"Content-Type": f"{json_type}; charset=utf-8"}, b"{}"),
        "text/plain": put({"Content-Type": "text/plain"}, payment(user)),
        "application/xml": put({"Content-Type": "application/xml"}, payment(user)),
        "an empty body": put({}, b""),
        "null": put({}, b"null"),
        "a list": put({}, b"[]"),
        "a truncated body": put({}, payment(user)[:-9]),
        "an unknown property": put({}, changed(colour="red")),
        "amount as a number": put({}, changed(amount=1)),
        "amount with an exponent": put({}, changed(amount="1e3")),
        "currency in lower case": put({}, changed(currency="gbp")),
        "an id in upper case": put({}, changed(paymentId=str(uuid.uuid4()).upper())),
        "a description too long": put({}, changed(description="x" * 257)),
        "a control character": put({}, changed(description="a\u0001b")),
        "GET /submit": ("GET", "/submit", {}, None),
        "an unknown path": ("PUT", "/nothing", {}, payment(user)),
        "preflight of /submit": ("OPTIONS", "/submit", {"Authorization": None}, None),
        **lacking,
    }
    if reads:
        asked |= {"an unknown payment": ("GET", f"/payments/{uuid.uuid4()}", {}, None),
                  "a payment without a token": ("GET", f"/payments/{uuid.uuid4()}", {"Authorization": None}, None),
                  "a bad parameter": ("GET", "/payments?limit=0", {}, None)}
    return asked


def listed_differences(emulator, gateway, token, user, reads, bare):
    """Compares all cases; where an emulator knows no gateway responses, its bare message counts as ours with that status."""
    local.WORK = ROOT / "target" / "check-emulators" / emulator.lower()
    local.WORK.mkdir(parents=True, exist_ok=True)
    found, there = set(), cases(user, reads)
    with local.pipeline(PROGRAMS / "local") as ready:
        for name, case in cases(ready["userId"], reads).items():
            ours = described(*request(ready["api"], ready["token"], case))
            theirs = described(*request(gateway, token, there[name]))
            if ours != theirs and not (bare and theirs == f"{ours.split()[0]} {{message}}"):
                found.add((name, ours, theirs))
    compare(emulator, found, {row for row in differences(emulator) if row[0].split(": ")[0] not in MAY})
    print(f"{emulator}: {len(there)} requests answered as by the local gateway, but for {len(found)} listed differences")


def differences(emulator):
    """What emulators.md lists of an emulator: what was asked, the answer here, the answer there."""
    page = (pathlib.Path(__file__).parent / "emulators.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith(f"| {emulator} |")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {tuple(row[1:4]) for row in rows if len(row) == 5}


def compare(emulator, found, listed):
    expect(found == listed, f"{emulator} differs otherwise than emulators.md says:\n" + "".join(
        f"{'new' if row in found else 'gone'}: | {emulator} | {' | '.join(row)} |\n" for row in sorted(found ^ listed)))


def described(status, body):
    """An answer's status and shape: the code or status in it where its keys are the contract's, else the keys."""
    if not body:
        return f"{status} empty"
    try:
        answer = json.loads(body)
    except ValueError:
        return f"{status} not JSON"
    if answer.keys() == {"code", "message", "requestId"} or answer.keys() == {"code", "message", "requestId", "field"}:
        return f"{status} {answer['code']}"
    if answer.keys() == {"status", "messageId", "bodyMd5", "requestId"}:
        return f"{status} {answer['status']}"
    return f"{status} {{{', '.join(sorted(answer))}}}"


# The document, put into MiniStack.


def simplified(template):
    """Without what MiniStack's templates do not know: conditions, and variables of the context but for the claims.
    Where there is a choice, its first branch; the request's id and time come from headers, in lower case as they arrive."""
    template = re.sub(r"#if\([^()]*\)((?:(?!#end).)*)#else(?:(?!#end).)*#end", r"\1", template)
    template = re.sub(r"#if(?:(?!#end).)*#end", "", template)
    template = template.replace("$context.extendedRequestId", "$input.params('x-test-request-id')")
    return template.replace("$context.requestTimeEpoch", "$input.params('x-test-time')")


def operations(document):
    return [operation for path in document["paths"].values() for operation in path.values()]


def templates_of(operation):
    integration = operation["x-amazon-apigateway-integration"]
    answers = integration.get("responses", {}).values()
    return [described["requestTemplates"] for described in [integration] if "requestTemplates" in described] + \
           [answer["responseTemplates"] for answer in answers if "responseTemplates" in answer]


def put_in(document):
    """Does by single calls what PutRestApi does on AWS; returns the API's id."""
    gateways = client("apigateway")
    rest = gateways.create_rest_api(name=document["info"]["title"])["id"]
    for name, schema in document["components"]["schemas"].items():
        text = json.dumps(schema).replace("#/components/schemas/", f"https://apigateway.amazonaws.com/restapis/{rest}/models/")
        gateways.create_model(restApiId=rest, name=name, contentType="application/json", schema=text)
    validators = {name: gateways.create_request_validator(restApiId=rest, name=name, **what)["id"]
                  for name, what in document["x-amazon-apigateway-request-validators"].items()}
    authorizers = {}
    for name, scheme in document["components"]["securitySchemes"].items():
        described = scheme["x-amazon-apigateway-authorizer"]
        authorizers[name] = gateways.create_authorizer(
            restApiId=rest, name=name, type=described["type"].upper(), providerARNs=described["providerARNs"],
            identitySource=f"method.request.{scheme['in']}.{scheme['name']}")["id"]
    for path, methods in document["paths"].items():
        resource = put_resource(gateways, rest, path)
        for method, operation in methods.items():
            put_method(gateways, rest, resource, method.upper(), operation, validators, authorizers)
    for kind, answer in document["x-amazon-apigateway-gateway-responses"].items():
        gateways.put_gateway_response(restApiId=rest, responseType=kind, **answer)
    gateways.create_deployment(restApiId=rest, stageName="live")
    return rest


def put_resource(gateways, rest, path):
    known = {resource["path"]: resource["id"] for resource in gateways.get_resources(restApiId=rest, limit=500)["items"]}
    above, made = known["/"], ""
    for part in path.strip("/").split("/"):
        made += f"/{part}"
        above = known.get(made) or gateways.create_resource(restApiId=rest, parentId=above, pathPart=part)["id"]
    return above


def put_method(gateways, rest, resource, method, operation, validators, authorizers):
    where = {"restApiId": rest, "resourceId": resource, "httpMethod": method}
    places = {"path": "path", "query": "querystring", "header": "header"}
    security = {"authorizationType": "NONE"}
    for scheme in operation.get("security", []):
        [(name, scopes)] = scheme.items()
        security = {"authorizationType": "COGNITO_USER_POOLS", "authorizerId": authorizers[name], "authorizationScopes": scopes}
    gateways.put_method(
        **where, **security, requestValidatorId=validators[operation["x-amazon-apigateway-request-validator"]],
        requestParameters={f"method.request.{places[parameter['in']]}.{parameter['name']}": parameter.get("required", False)
                           for parameter in operation.get("parameters", [])},
        requestModels={kind: content["schema"]["$ref"].rsplit("/", 1)[1]
                       for kind, content in operation.get("requestBody", {}).get("content", {}).items()})
    integration = dict(operation["x-amazon-apigateway-integration"])
    answers = integration.pop("responses", {})
    backend = {"integrationHttpMethod": integration.pop("httpMethod")} if "httpMethod" in integration else {}
    if "passthroughBehavior" in integration:
        integration["passthroughBehavior"] = integration["passthroughBehavior"].upper()
    gateways.put_integration(**where, **backend, **dict(integration, type=integration["type"].upper()))
    for pattern, answer in answers.items():
        chosen = {} if pattern == "default" else {"selectionPattern": pattern}
        gateways.put_integration_response(**where, **chosen, **answer)


def signed_in(facts):
    """An access token of a new user, by the sign-in page with PKCE."""
    pools, name, password = client("cognito-idp"), f"{uuid.uuid4()}@example.com", secrets.token_urlsafe(16) + "aA1!"
    # MiniStack would make up a shorter password than the pool allows.
    pools.admin_create_user(UserPoolId=facts["pool"], Username=name, TemporaryPassword=password, MessageAction="SUPPRESS")
    pools.admin_set_user_password(UserPoolId=facts["pool"], Username=name, Password=password, Permanent=True)
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    form = {"client_id": facts["client"], "redirect_uri": facts["callback"]}
    asked = {**form, "response_type": "code", "scope": " ".join(facts["scopes"]), "code_challenge": challenge, "code_challenge_method": "S256"}
    headers, _ = posted(f"{facts['url']}/login", {**asked, "username": name, "password": password}, 302)
    [code] = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["location"]).query)["code"]
    asked = {**form, "grant_type": "authorization_code", "code": code, "code_verifier": verifier}
    return json.loads(posted(f"{facts['url']}/oauth2/token", asked, 200)[1])["access_token"]


# What they share.


def payment(user, description="Invoice 4711", **style):
    fields = {"paymentId": str(uuid.uuid4()), "userId": user, "amount": "10.50", "currency": "GBP", "description": description}
    return json.dumps(fields, **style).encode()


def hostile(user):
    """Each text as it is, on lines of its own, and with everything beyond ASCII escaped."""
    for text in HOSTILE:
        yield payment(user, text, ensure_ascii=False, indent=1)
        yield payment(user, text)


def accepted(gateway, token, body):
    status, answer = request(gateway, token, ("PUT", "/submit", {}, body))
    expect(status == 200, f"{body} was answered {status} {answer}")
    answer = json.loads(answer)
    expect(answer["status"] == "accepted" and answer["messageId"] and answer["requestId"], f"accepted without its ids: {answer}")
    expect(answer["bodyMd5"] == md5(body), f"other bytes were queued than were sent: {answer}")
    return answer


def decided(gateway, token, body):
    """What became of a payment, as soon as it is known."""
    path = f"/payments/{json.loads(body)['paymentId']}?wait=20"
    answer = until("there is an outcome", lambda: (lambda status, found: status == 200 and found)(*request(gateway, token, ("GET", path, {}, None))))
    return json.loads(answer)


def request(base, token, case):
    method, path, changes, body = case
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}",
               "X-Test-Request-Id": uuid.uuid4().hex, "X-Test-Time": str(time.time_ns() // 1_000_000), **changes}
    status, _, answer = exchanged(method, base + path, {name: value for name, value in headers.items() if value}, body)
    return status, answer


def posted(url, form, status_wanted):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, body = exchanged("POST", url, headers, urllib.parse.urlencode(form))
    expect(status == status_wanted, f"{url} was answered {status}: {body}")
    return headers, body


def exchanged(method, url, headers, body):
    """One request with these headers and no others that say what a body is; redirections are not followed."""
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=SECONDS_MAX)
    try:
        connection.request(method, f"{where.path}?{where.query}" if where.query else where.path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@functools.cache
def _client(service, credentials):
    return botocore.session.get_session().create_client(service, region_name=os.environ["AWS_REGION"], **dict(credentials))


def client(service, credentials=None):
    return _client(service, tuple((credentials or {}).items()))


def md5(body):
    return hashlib.md5(body).hexdigest()


def until(what, condition):
    end = time.monotonic() + SECONDS_MAX
    while not (found := condition()):
        expect(time.monotonic() < end, f"waited {SECONDS_MAX} s until {what}")
        time.sleep(0.2)
    return found


def failure_of(check):
    """What a check says that must fail."""
    try:
        check()
    except SystemExit as failure:
        return str(failure)
    sys.exit("emulators: a check passed that must fail")


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"emulators: {otherwise}")


if __name__ == "__main__":
    main()
