"""Every policy of a plan, linted: by parliament (names, types, conditions), against policy_sentry's copy of
AWS's service authorization reference (does an action take such a resource at all?), and by rules of our own
for what both cannot know.

    policies.py PLAN    what `terraform show -json` says of a plan whose policies are whole

Run by scripts/check-infra with a Python that has both. Says every finding, and fails if there is one.
"""

import json
import pathlib
import re
import sys

from parliament import analyze_policy_string
from policy_sentry.querying.actions import get_action_data

# A policy on a thing speaks of that thing as "*": parliament gets the kind of thing that it is. A trust
# policy has no resource at all.
THINGS = {
    "aws_kms_key": "arn:aws:kms:eu-west-2:123456789012:key/1",
    "aws_kms_key_policy": "arn:aws:kms:eu-west-2:123456789012:key/1",
    "aws_iam_role": "arn:aws:iam::123456789012:role/some",
}

# What parliament says in vain: the policy and the issue, each with the reason.
IN_VAIN = {
    # AWS's own example for encrypted log groups compares this key, a text, as an ARN.
    ("aws_kms_key.operations", "MISMATCHED_TYPE"),
}

# Actions that are asked about the version or alias that they name. The reference knows only functions.
QUALIFIED = {"lambda:InvokeFunction"}

# Services that send no aws:SourceAccount or aws:SourceArn when they take a role: a condition on one refuses
# them for ever. API Gateway: aws-solutions-library-samples/
# accelerated-intelligent-document-processing-on-aws, pull request 479, on a live stack.
SILENT_SERVICES = {"apigateway.amazonaws.com"}


def main():
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text())
    policies = list(found(plan["planned_values"]["root_module"]))
    if len(policies) < 10:
        sys.exit(f"policies: only {len(policies)} policies in the plan")
    findings = [f"{address}: {finding}" for address, kind, policy in policies
                for finding in lint(address, kind, policy)]
    if findings:
        sys.exit("\n".join(f"policies: {finding}" for finding in findings))
    print(f"{len(policies)} policies linted")


def found(module):
    """Whatever is a policy, in whichever resource and under whichever name."""
    for resource in module.get("resources", []):
        for value in resource["values"].values():
            policy = parsed(value)
            if policy:
                yield resource["address"], resource["type"], policy
    for child in module.get("child_modules", []):
        yield from found(child)


def parsed(value):
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        policy = json.loads(value)
    except ValueError:
        return None
    return policy if isinstance(policy, dict) and "Statement" in policy else None


def lint(address, kind, policy):
    for statement in policy["Statement"]:
        if not statement.get("Sid"):
            yield "a statement without a Sid"
        if kind in THINGS and statement.get("Resource", "*") == "*":
            statement["Resource"] = THINGS[kind]
        yield from trust(statement)
        yield from resources(statement)
    # That a key's account may do everything with it is not for linting.
    statements = [statement for statement in policy["Statement"] if statement["Action"] != "kms:*"]
    if not statements:
        return
    for finding in analyze_policy_string(json.dumps({**policy, "Statement": statements})).findings:
        if (address, finding.issue) not in IN_VAIN:
            yield f"parliament: {finding.issue} {finding.detail or ''}"


def trust(statement):
    """Conditions that nobody who is meant could meet."""
    principal, conditions = statement.get("Principal"), statement.get("Condition", {})
    if statement["Effect"] != "Allow" or not isinstance(principal, dict):
        return
    keys = {key.lower() for condition in conditions.values() for key in condition}
    if SILENT_SERVICES & set(many(principal.get("Service", []))) and keys & {"aws:sourceaccount", "aws:sourcearn"}:
        yield f"{statement['Sid']}: API Gateway sends no {', '.join(sorted(keys))} when it takes a role"
    if "aws:multifactorauthpresent" in keys and any(":user/" not in arn for arn in many(principal.get("AWS", []))):
        yield f"{statement['Sid']}: a second factor is demanded of a role, whose credentials never say so"


def resources(statement):
    """Every action needs a resource of a kind that it takes, or it is neither allowed nor denied."""
    if "Resource" not in statement:
        return
    for action in many(statement["Action"]):
        if "*" in action:
            continue
        service, name = action.split(":")
        known = get_action_data(service, name)
        if not known:
            yield f"{statement['Sid']}: there is no action {action}"
            continue
        formats = {entry["resource_arn_format"] for entry in known[service]}
        if action in QUALIFIED:
            formats |= {form + ":${Alias}" for form in formats}
        if not any(takes(form, resource) for form in formats for resource in many(statement["Resource"])):
            yield f"{statement['Sid']}: {action} takes {sorted(formats)}, not {statement['Resource']}"


def takes(form, resource):
    """Whether an ARN can be of this form: arn:${Partition}:dynamodb:${Region}:${Account}:table/${TableName}."""
    wanted, given = form.split(":"), resource.split(":")
    if given[-1] == "*" and len(given) > 1:
        # Whatever follows.
        given = given[:-1]
        wanted = wanted[:len(given)]
    return len(wanted) == len(given) and all(map(part_takes, wanted, given))


def part_takes(wanted, given):
    # A name that is a whole part may have slashes in it, as log groups do; table/${TableName} is no index.
    name = ".*" if re.fullmatch(r"\$\{\w+\}", wanted) else "[^/]+"
    return re.fullmatch(name.join(map(re.escape, re.split(r"\$\{\w+\}", wanted))), given) is not None


def many(value):
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
