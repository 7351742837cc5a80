"""scripts/release against a stub of AWS, and scripts/check-plan against plans: what they must refuse, and
what they must do. Run by scripts/check-infra with a Python that has botocore, whose service models refuse a
call that AWS would.

    release_test.py            the scripts as they are
    release_test.py FOLDER     copies of them in FOLDER, which may be broken on purpose
"""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import botocore.session
import botocore.validate
from botocore import xform_name

INFRA = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = INFRA.parent / "scripts"

# Stands for `aws` and for `terraform output`. The world is a file, so that each call sees what the last one did.
STUB = '''#!{python} -SEs
import json, sys

with open({world!r}) as file:
    world = json.load(file)
if sys.argv[0].endswith("terraform"):
    releases = {{"application": "remit", "functions": {{name: name for name in world["functions"]}}}}
    queues = {{name: {{"function": name, "url": f"{{name}}-queue", "dead_letter_url": f"{{name}}-dlq"}}
              for name in ("submit", "deliver")}}
    print(json.dumps({{"releases": {{"value": releases}}, "queues": {{"value": queues}}}}))
    sys.exit()

service, command, *words = sys.argv[1:]
given, option = {{}}, None
for word in words:
    if word.startswith("--"):
        option = given.setdefault(word, [])
    else:
        option.append(word)
world["calls"].append([service, command, given])
answer = {{}}
if command == "get-alias":
    answer = {{"FunctionVersion": world["functions"][given["--function-name"][0]]["serves"]}}
elif command == "list-versions-by-function":
    newest = world["functions"][given["--function-name"][0]]["newest"]
    answer = {{"Versions": [{{"Version": "$LATEST"}}, *({{"Version": str(n + 1)}} for n in range(newest))]}}
elif command == "list-deployments":
    answer = {{"deployments": [d["deploymentId"] for d in world["deployments"]
                              if [d["group"]] == given["--deployment-group-name"]]}}
elif command == "batch-get-deployments":
    wanted = given["--deployment-ids"]
    answer = {{"deploymentsInfo": [d for d in world["deployments"] if d["deploymentId"] in wanted]}}
elif command == "create-deployment":
    specification = json.loads(json.loads(given["--revision"][0])["appSpecContent"]["content"])
    [[function, resource]] = specification["Resources"][0].items()
    assert resource["Properties"]["CurrentVersion"] == world["functions"][function]["serves"]
    watched = json.loads(given.get("--override-alarm-configuration", ["{{}}"])[0]).get("enabled", True)
    bad = world["alarms"] and watched or resource["Properties"]["TargetVersion"] in world["bad"]
    number = len(world["deployments"])
    answer = {{"deploymentId": f"d-{{number}}"}}
    world["deployments"].append(dict(
        answer, group=given["--deployment-group-name"][0], description=given["--description"][0],
        status="Stopped" if bad else "Succeeded", createTime=f"2026-01-01T00:00:{{number:02}}"))
elif command == "get-deployment":
    [found] = [d for d in world["deployments"] if [d["deploymentId"]] == given["--deployment-id"]]
    world["polls"] += 1
    status = "InProgress" if world["polls"] < 3 else found["status"]
    answer = {{"deploymentInfo": dict(found, status=status, errorInformation={{"message": "an alarm went off"}})}}
elif command == "get-queue-attributes":
    count = world["messages"].get(given["--queue-url"][0], "0")
    answer = {{"Attributes": {{name: count if name == "ApproximateNumberOfMessages" else "0"
                              for name in given["--attribute-names"]}}}}
with open({world!r}, "w") as file:
    json.dump(world, file)
print(json.dumps(answer))
'''

TAKEN_BACK = {"deploymentId": "d-0", "group": "submit", "description": "version 2", "status": "Stopped",
              "createTime": "2026-01-01T00:00:00"}
MENDED = {**TAKEN_BACK, "deploymentId": "d-1", "status": "Succeeded", "createTime": "2026-01-01T00:00:01"}


def world(**changes):
    functions = {"submit": {"serves": "1", "newest": 2}, "query": {"serves": "1", "newest": 1}}
    return {"functions": functions, "deployments": [], "alarms": False, "bad": [], "messages": {}, "calls": [], "polls": 0,
            **changes}


# Arguments, the world, whether it ends well, what it says, what it begins to deploy.
CASES = [
    ([], world(), True, "submit: version 2 serves", ["version 2"]),
    ([], world(functions={"submit": {"serves": "2", "newest": 2}}), True, "version 2 serves already", []),
    (["submit", "1"], world(functions={"submit": {"serves": "2", "newest": 2}}), True, "version 1 serves",
     ["version 1"]),
    (["submit"], world(), False, "without its version", []),
    (["nothing", "1"], world(), False, "no such function: nothing; there are query, submit", []),
    # Taken back now, and before.
    ([], world(bad=["2"]), False, "submit: version 2 was taken back: Stopped, an alarm went off", ["version 2"]),
    ([], world(deployments=[TAKEN_BACK]), False,
     "version 2 was taken back (deployment d-0, Stopped); version 1 serves", []),
    (["submit", "2"], world(deployments=[TAKEN_BACK]), False, "use --force", []),
    (["--force"], world(deployments=[TAKEN_BACK]), True, "submit: version 2 serves", ["version 2"]),
    ([], world(deployments=[MENDED, TAKEN_BACK]), True, "submit: version 2 serves", ["version 2"]),
    ([], world(deployments=[{**TAKEN_BACK, "group": "query"}]), True, "version 2 serves", ["version 2"]),
    # One function's bad version keeps no other one back.
    ([], world(functions={"submit": {"serves": "1", "newest": 2}, "query": {"serves": "1", "newest": 3}},
               deployments=[TAKEN_BACK]), False, "query: version 3 serves", ["version 3"]),
    # An outage's alarms.
    ([], world(alarms=True), False, "was taken back", ["version 2"]),
    (["--despite-alarms"], world(alarms=True), True, "!!! --despite-alarms", ["version 2"]),
    # A stricter rule.
    (["--when-drained"], world(), True, "submit: version 2 serves", ["version 2"]),
    (["--when-drained"], world(messages={"submit-queue": "3"}), False, "3 on submit-queue, 0 dead letters", []),
    (["--when-drained"], world(messages={"submit-dlq": "1"}), False, "0 on submit-queue, 1 dead letters", []),
    # What another function takes is not judged by this one.
    (["--when-drained"], world(messages={"deliver-queue": "1"}), True, "submit: version 2 serves", ["version 2"]),
    (["--when-drained", "query", "2"], world(messages={"submit-queue": "3"}), True, "query: version 2 serves", ["version 2"]),
]


def change(kind, *actions, before=None, after=None):
    address = f"{kind}.payments"
    return {"address": address, "type": kind, "change": {"actions": list(actions), "before": before, "after": after}}


def plan(*changes, **variables):
    values = {name: {"value": value} for name, value in variables.items()}
    return {"variables": values, "resource_changes": list(changes)}


DOCUMENT = "aws_api_gateway_rest_api"
CHANGED = change(DOCUMENT, "update", before={"body": "a"}, after={"body": "b"})

# Arguments, the plan, whether it passes, what is said.
PLANS = [
    ([], plan(change("aws_sqs_queue", "update")), True, "deletes nothing"),
    *(([], plan(change(kind, *actions)), False, f"{kind}.payments would be {said}")
      for kind in ["aws_sqs_queue", "aws_kms_key", "aws_dynamodb_table", "aws_cognito_user_pool"]
      for actions, said in [(["delete"], "deleted"), (["delete", "create"], "replaced"),
                            (["create", "delete"], "replaced")]),
    ([], plan(change("aws_sqs_queue", "delete"), deletion_protection=True), False, "would be deleted"),
    ([], plan(change("aws_sqs_queue", "delete"), deletion_protection=False), True, "deletes nothing"),
    ([], plan(change("aws_cloudwatch_metric_alarm", "delete")), True, "deletes nothing"),
    ([], plan(change(DOCUMENT, "create", after={"body": "a"})), True, "deletes nothing"),
    ([], plan(change(DOCUMENT, "no-op", before={"body": "a"}, after={"body": "a"})), True, "deletes nothing"),
    ([], plan(CHANGED), False, "the API document changes"),
    ([], plan(change(DOCUMENT, "update", before={"body": "a"}, after={})), False, "the API document changes"),
    (["--contract", "widens"], plan(CHANGED), True, "deletes nothing"),
    (["--contract", "same"], plan(change("aws_kms_key", "delete")), False, "would be deleted"),
    (["--contract", "sideways"], plan(), False, "invalid choice"),
]


def check_release(folder, number, case):
    arguments, given, good, said, deployed = case
    path = folder / f"world-{number}.json"
    path.write_text(json.dumps(given))
    tools = folder / f"tools-{number}"
    tools.mkdir()
    for name in ("aws", "terraform"):
        (tools / name).write_text(STUB.format(python=sys.executable, world=str(path)))
        (tools / name).chmod(0o755)
    environment = dict(os.environ, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run([sys.executable, folder / "release", *arguments], env=environment, capture_output=True,
                          text=True, timeout=120)
    output = done.stdout + done.stderr
    after = json.loads(path.read_text())
    for call in after["calls"]:
        aws_would_take(*call)
    began = [deployment["description"] for deployment in after["deployments"][len(given["deployments"]):]]
    if (done.returncode == 0, said in output, began) != (good, True, deployed):
        sys.exit(f"release_test: release {arguments} in {given}: {done.returncode}, began {began}, said {output}")


@functools.cache
def operations(service):
    model = botocore.session.get_session().get_service_model({"deploy": "codedeploy"}.get(service, service))
    return {xform_name(name, "-"): model.operation_model(name).input_shape for name in model.operation_names}


def aws_would_take(service, command, given):
    """The call is one that AWS knows, by the service's own model."""
    shape = operations(service)[command]
    members = {"--" + xform_name(name, "-"): name for name in shape.members}
    if given.pop("--output") != ["json"] or not given.keys() <= members.keys():
        sys.exit(f"release_test: aws {service} {command} takes no {sorted(given.keys() - members.keys())}")
    read = {"string": lambda words: words[0], "structure": lambda words: json.loads(words[0]), "list": list}
    parameters = {members[name]: read[shape.members[members[name]].type_name](words) for name, words in given.items()}
    report = botocore.validate.ParamValidator().validate(parameters, shape)
    if report.has_errors():
        sys.exit(f"release_test: aws {service} {command}: {report.generate_report()}")


def check_plan(scripts, case):
    arguments, given, good, said = case
    done = subprocess.run([sys.executable, scripts / "check-plan", *arguments], input=json.dumps(given),
                          capture_output=True, text=True, timeout=60)
    if (done.returncode == 0, said in done.stdout + done.stderr) != (good, True):
        sys.exit(f"release_test: check-plan {arguments} of {given}: {done.returncode}, {done.stdout}{done.stderr}")


def waits_longer_than_any_canary(release):
    permitted = (INFRA / "variables.tf").read_text()
    rule = r"Canary10Percent\(([0-9|]+)\)Minutes\|Linear10PercentEvery\(([0-9|]+)\)"
    canaries, steps = re.search(rule, permitted).groups()
    longest = max(*map(int, canaries.split("|")), *(10 * int(minutes) for minutes in steps.split("|")))
    [minutes] = re.findall(r"^WAIT_SECONDS_MAX = (\d+) \* 60$", release, re.M)
    if int(minutes) <= longest:
        sys.exit(f"release_test: a canary may take {longest} minutes, and release waits for {minutes}")


def main():
    scripts = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else SCRIPTS
    release = (scripts / "release").read_text()
    waits_longer_than_any_canary(release)
    for case in PLANS:
        check_plan(scripts, case)
    with tempfile.TemporaryDirectory() as name:
        # Asks at once again, and not after seconds.
        (pathlib.Path(name) / "release").write_text(release.replace("\nPOLL_SECONDS = 15\n", "\nPOLL_SECONDS = 0.01\n"))
        for number, case in enumerate(CASES):
            check_release(pathlib.Path(name), number, case)


if __name__ == "__main__":
    main()
