"""scripts/preflight against a stub of the aws command line and of terraform: nothing is missing where nothing
is, and each lack is named. Run by scripts/check-infra."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ACCOUNT = "123456789012"

# Answers by service and operation; None: refused.
ACCOUNT_IN_ORDER = {
    "sts get-caller-identity": {"Account": ACCOUNT},
    "s3api get-bucket-versioning": {"Status": "Enabled"},
    "lambda get-account-settings": {"AccountLimit": {"ConcurrentExecutions": 1000}},
    "apigateway get-account": {"throttleSettings": {"rateLimit": 10000.0, "burstLimit": 5000}},
    "cognito-idp describe-user-pool-domain": {"DomainDescription": {}},
    "sns list-subscriptions-by-topic": {"Subscriptions": [{"Endpoint": "on-call@remit.invalid", "SubscriptionArn": "arn:aws:sns:…"}]},
}
VALUES = {
    "TF_VAR_account_id": ACCOUNT,
    "TF_VAR_allowed_origin": "https://pay.remit.invalid",
    "TF_VAR_callback_urls": '["https://pay.remit.invalid/signed-in"]',
    "TF_VAR_sign_in_domain_prefix": "remit-ours",
    "TF_VAR_page_emails": '["on-call@remit.invalid"]',
    "TF_VAR_operator_role_arns": f'["arn:aws:iam::{ACCOUNT}:role/on-call"]',
    "TF_VAR_architecture": "arm64",
}
# Answers lie in files named after what is asked; a refused question has none.
STUB = """#!/bin/sh
exec /bin/cat "$STUB/$1 $2"
"""


def preflight(answers, changed, machine=0xB7, terraform="1.11.4"):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for tool in ("aws", "terraform"):
            (folder / tool).write_text(STUB)
            (folder / tool).chmod(0o755)
        header = b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little")
        for function in (main.parent.parent.name for main in ROOT.glob("lambdas/*/src/main.rs")):
            with zipfile.ZipFile(folder / f"{function}-arm64.zip", "w") as archive:
                archive.writestr("bootstrap", header)
        answers = {**ACCOUNT_IN_ORDER, "version -json": {"terraform_version": terraform}, **answers}
        environment = {key: value for key, value in {**os.environ, **VALUES, **changed}.items() if value is not None}
        for question, answer in answers.items():
            if answer is not None:
                (folder / question).write_text(json.dumps(answer))
        environment |= {"PATH": str(folder), "STUB": name}
        command = [sys.executable, ROOT / "scripts" / "preflight", "production", "--bucket", "states", "--packages", folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr


def main():
    code, said = preflight({}, {})
    if code != 0 or "MISSING" in said:
        sys.exit(f"preflight_test: in order, and yet: {said}")
    pending = {"Subscriptions": [{"Endpoint": "on-call@remit.invalid", "SubscriptionArn": "PendingConfirmation"}]}
    for answers, changed, options, expected in [
        ({"sts get-caller-identity": None}, {}, {}, "credentials for AWS"),
        ({"sts get-caller-identity": {"Account": "210987654321"}}, {}, {}, "these are of 210987654321"),
        ({"s3api get-bucket-versioning": None}, {}, {}, "apply infra/bootstrap first"),
        ({"s3api get-bucket-versioning": {}}, {}, {}, "versions in states"),
        ({"lambda get-account-settings": {"AccountLimit": {"ConcurrentExecutions": 419}}}, {}, {}, "420 concurrent executions"),
        ({"lambda get-account-settings": {"AccountLimit": {"ConcurrentExecutions": 10}}},
         {"TF_VAR_submit_payments_reserved_concurrency": "null", "TF_VAR_query_payments_reserved_concurrency": "null"}, {}, "more concurrent executions than maximum_concurrency, 10"),
        ({"apigateway get-account": {"throttleSettings": {"rateLimit": 100.0, "burstLimit": 5000}}}, {}, {}, "at least throttle_rate, 500"),
        ({}, {"TF_VAR_manage_account_log_role": "false"}, {}, "a role as which API Gateway writes logs"),
        ({"cognito-idp describe-user-pool-domain": {"DomainDescription": {"AWSAccountId": "210987654321"}}}, {}, {}, "the sign-in domain remit-ours"),
        ({"sns list-subscriptions-by-topic": pending}, {}, {}, "pages to on-call@remit.invalid"),
        ({}, {"TF_VAR_page_emails": None}, {}, "somebody to page"),
        ({}, {"TF_VAR_operator_role_arns": None}, {}, "somebody who may work on dead letters"),
        ({}, {"TF_VAR_allowed_origin": None}, {}, "allowed_origin of your own"),
        ({}, {}, {"machine": 0x3E}, "holds a program for another machine"),
        ({}, {"TF_VAR_architecture": "x86_64"}, {}, "scripts/package --architecture x86_64"),
        ({}, {}, {"terraform": "1.9.8"}, "terraform of 1.11 or newer"),
    ]:
        code, said = preflight(answers, changed, **options)
        lacks = [line for line in said.splitlines() if line.startswith("MISSING")]
        if code != 1 or not any(expected in line for line in lacks):
            sys.exit(f"preflight_test: {expected}: not named in: {said}")
    code, said = preflight({"sns list-subscriptions-by-topic": None}, {})
    if code != 0 or "there is no topic yet" not in said:
        sys.exit(f"preflight_test: before the first apply: {said}")


if __name__ == "__main__":
    main()
