"""What the workflow's roles may do (infra/bootstrap) against what Terraform does.

    calls.py BOOTSTRAP APPLY PLAN    `terraform show -json` of the bootstrap, and the provider's debug logs of an
                                     apply of the stack and of a plan of what is there

Every call of the apply must be allowed to the role that deploys, every call of the plan to the role that only
plans; and neither may touch a payment, nor delete what holds payments. Actions are compared, not resources.
"""

import fnmatch
import json
import pathlib
import re
import sys

# A service's name in the log, and in policies.
SERVICES = {
    "API Gateway": "apigateway", "CloudWatch": "cloudwatch", "CloudWatch Logs": "logs", "CodeDeploy": "codedeploy",
    "Cognito Identity Provider": "cognito-idp", "DynamoDB": "dynamodb", "IAM": "iam", "KMS": "kms", "Lambda": "lambda",
    "Secrets Manager": "secretsmanager", "SNS": "sns", "SQS": "sqs", "STS": "sts", "WAFV2": "wafv2",
}

# Nobody needs a permission to ask who they are.
FREE = {"sts:GetCallerIdentity"}

# What no role of the workflow may do, whatever Terraform wants.
NEVER = [
    "cognito-idp:AdminCreateUser", "cognito-idp:DeleteUserPool", "dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:DeleteTable",
    "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:RestoreTableToPointInTime", "dynamodb:Scan", "iam:CreateAccessKey",
    "iam:CreateUser", "kms:DisableKey", "kms:ScheduleKeyDeletion", "lambda:InvokeFunction", "logs:GetLogEvents", "s3:DeleteBucket",
    "sqs:DeleteQueue", "sqs:PurgeQueue", "sqs:ReceiveMessage", "sqs:SendMessage",
]

# Of the role that plans; decrypting is Lambda's, of variables, and S3's, of the state.
READING = re.compile(r"^[\w-]+:(BatchGet|Describe|Get|List)\w*\*?$|^apigateway:GET$|^kms:Decrypt$")


def main():
    state, applied, planned = (pathlib.Path(argument).read_text() for argument in sys.argv[1:])
    policies = {}
    for resource in json.loads(state)["values"]["root_module"]["resources"]:
        if resource["type"] == "aws_iam_policy" and resource["index"] == "production":
            statements = json.loads(resource["values"]["policy"])["Statement"]
            policies[resource["name"]] = [action for statement in statements for action in many(statement["Action"])]
    plans, deploys = policies["read"], [action for actions in policies.values() for action in actions]

    allows("the role that deploys", deploys, called(applied))
    allows("the role that plans", plans, called(planned))
    for action in NEVER:
        expect(not allowed(action, deploys), f"a role of the workflow may {action}")
    changing = [action for action in plans if not READING.match(action)]
    expect(not changing, f"the role that plans may do more than read: {', '.join(changing)}")


def allows(role, actions, calls):
    expect(len(calls) > 20, f"hardly any call was logged: {sorted(calls)}")
    lacking = sorted(call for call in calls - FREE if not allowed(call, actions))
    expect(not lacking, f"{role} may not {', '.join(lacking)}, which Terraform calls")


def called(log):
    """API Gateway's permissions are named after methods of HTTP, all others after operations."""
    calls, cut = set(), 0
    # An entry begins with its time; one with a body goes on over several lines.
    for entry in re.split(r"^(?=\d{4}-\d\d-\d\dT)", log, flags=re.M):
        if "HTTP Request Sent" not in entry:
            continue
        service = re.search(r'rpc\.service=("([^"]+)"|\S+)', entry)
        if not service:
            cut += 1
            continue
        name = service.group(2) or service.group(1)
        expect(name in SERVICES, f"a service that is not known here: {name}")
        operation = re.search(r"http\.method=(\w+)" if name == "API Gateway" else r"rpc\.method=(\w+)", entry)
        calls.add(f"{SERVICES[name]}:{operation.group(1)}")
    # An entry of over 64 KiB, such as one with a package, is cut into pieces, and its end is JSON.
    ends = re.findall(r'"rpc\.method":"(\w+)","rpc\.service":"([^"]+)"', log)
    expect(len(ends) >= cut, f"{cut} calls were cut, and only {len(ends)} of their ends were found")
    return calls | {f"{SERVICES[name]}:{operation}" for operation, name in ends}


def allowed(action, patterns):
    return any(fnmatch.fnmatchcase(action, pattern) for pattern in patterns)


def many(value):
    return value if isinstance(value, list) else [value]


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"calls: {otherwise}")


if __name__ == "__main__":
    main()
