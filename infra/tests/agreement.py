"""What Terraform deploys against what the code is: two lists that must be one.

    agreement.py STATE DOCUMENT    after an apply: `terraform show -json`, and the document as rendered

Run by scripts/check-infra with a Python that has botocore, whose service models know all operations.
The functions are asked themselves: the programs in the deployed packages are run and searched.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import zipfile

import botocore.session

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# What a function's role may do without its code calling it.
PLATFORM = {
    # The event source mapping, which acts as the function's role.
    "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
    # Logs and traces, written by Lambda.
    "logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTelemetryRecords", "xray:PutTraceSegments",
    # Keys of queues, tables and variables, used by their services on the function's behalf.
    "kms:Decrypt", "kms:GenerateDataKey",
}

# How the SDK names operations on the wire (header X-Amz-Target).
WIRE_NAMES = {"sqs": b"AmazonSQS", "dynamodb": b"DynamoDB_20120810"}

SUBMIT_QUEUE = "module.submit_payment_queue.aws_sqs_queue.main"
SUBMIT_FUNCTION = 'module.function["submit-payments"].aws_lambda_function.this'

# What Lambda itself sets.
LAMBDA_VARIABLES = {"AWS_REGION": "eu-west-2", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}


def main():
    state, document = (pathlib.Path(argument).read_text() for argument in sys.argv[1:])
    values = json.loads(state)["values"]
    resources, queues = flat(values["root_module"]), values["outputs"]["queues"]["value"]
    document_is_rendered_as_everywhere(document, resources, queues)
    functions = [resource for resource in resources if resource["type"] == "aws_lambda_function"]
    expect(functions, "the state has no function")
    with tempfile.TemporaryDirectory() as folder:
        for function in functions:
            program = unpacked(function, pathlib.Path(folder))
            function_reads_exactly_its_variables(function, program)
            role_may_do_exactly_what_is_called(function, program, resources)
    function_knows_the_receive_count(resources)
    metrics_shown_are_those_emitted(resources)
    code_knows_the_tables_keys(resources)
    local_tables_are_the_deployed_ones(resources)
    alarms_name_their_runbook(resources)


def document_is_rendered_as_everywhere(rendered, resources, queues):
    """What Terraform deploys is what the local pipeline serves, given the same names: its own renderer is run."""
    [account] = {resource["values"]["arn"].split(":")[4] for resource in resources if resource["type"] == "aws_sqs_queue"}
    values = {
        "partition": "aws",
        "region": one(resources, SUBMIT_QUEUE)["arn"].split(":")[3],
        "account_id": account,
        "queue_name": one(resources, SUBMIT_QUEUE)["name"],
        "gateway_role_arn": one(resources, "aws_iam_role.gateway")["arn"],
        "user_pool_arn": one(resources, "aws_cognito_user_pool.users")["arn"],
        "allowed_origin": re.search(r"Access-Control-Allow-Origin: \"'(.*?)'\"", rendered).group(1),
    }
    # Each function behind the gateway is named after its module's key.
    behind_queues = {queue["function"] for queue in queues.values()}
    for alias in (resource for resource in resources if resource["type"] == "aws_lambda_alias"):
        if alias["values"]["function_name"] not in behind_queues:
            name = re.search(r'\["([\w-]+)"\]', alias["address"]).group(1)
            values[f"{name.replace('-', '_')}_arn"] = alias["values"]["arn"]
    render = ["cargo", "run", "--quiet", "--locked", "--example", "render", "--"]
    local = subprocess.run([*render, *(f"{name}={value}" for name, value in values.items())],
                           cwd=ROOT, capture_output=True, text=True)
    expect(local.returncode == 0, f"the local renderer: {local.stderr.strip()}")
    expect(rendered == local.stdout, "Terraform's document is not the one that the local pipeline serves")


def function_reads_exactly_its_variables(function, program):
    """With all variables the program gets past its configuration; without any one of them it names it."""
    variables = function["values"]["environment"][0]["variables"]
    complaint = re.compile(r"environment variable ([A-Z_]+) (.*)")
    complete = complaint.search(started(program, variables))
    expect(not complete, f"{function['address']}: {complete and complete.group(0)}")
    for name in variables:
        rest = {key: value for key, value in variables.items() if key != name}
        named = complaint.search(started(program, rest))
        expect(named and named.group(1) == name, f"{function['address']} is given {name} and does not read it")


def started(program, variables):
    """What the program says before it finds no Runtime API and ends."""
    done = subprocess.run([program], env={**variables, **LAMBDA_VARIABLES}, capture_output=True, text=True, timeout=30)
    expect(done.returncode != 0, f"{program} ended well without a Runtime API")
    return done.stdout + done.stderr


def role_may_do_exactly_what_is_called(function, program, resources):
    module = function["address"].removesuffix("aws_lambda_function.this")
    statements = json.loads(one(resources, f"{module}aws_iam_role_policy.this")["policy"])["Statement"]
    allowed = {action for statement in statements for action in many(statement["Action"])}
    expect(all(statement.get("Sid") and statement["Effect"] == "Allow" for statement in statements), "a statement without a sid")
    called = called_operations(program)
    expect(called, f"no AWS operation found in {program}")
    expect(allowed - PLATFORM == called - PLATFORM, f"{function['address']}: allowed and not called "
           f"{sorted(allowed - PLATFORM - called)}, called and not allowed {sorted(called - allowed)}")


def called_operations(program):
    """Only operations that some code path reaches are linked into the program, each with its wire name.
    Texts stand in it end to end, so the longest known name counts; too long a one is refused loudly."""
    binary = program.read_bytes()
    called = set()
    for service, wire in WIRE_NAMES.items():
        names = botocore.session.get_session().get_service_model(service).operation_names
        for text in re.findall(wire + rb"\.([A-Za-z]+)", binary):
            known = [name for name in names if text.decode().startswith(name)]
            expect(known, f"{program} calls an unknown operation {text}")
            called.add(f"{service}:{max(known, key=len)}")
    return called


def function_knows_the_receive_count(resources):
    redrive = json.loads(one(resources, SUBMIT_QUEUE)["redrive_policy"])
    variables = one(resources, SUBMIT_FUNCTION)["environment"][0]["variables"]
    same = variables["REMIT_RECEIVE_COUNT_MAX"] == str(redrive["maxReceiveCount"])
    expect(same, "the function's receive count is not the redrive policy's")


def metrics_shown_are_those_emitted(resources):
    lambdas = ROOT / "lambdas"
    metrics = (lambdas / "function" / "src" / "metrics.rs").read_text()
    namespace = re.search(r'const NAMESPACE: &str = "(\w+)";', metrics).group(1)
    outcome = (lambdas / "submit-payments" / "src" / "outcome.rs").read_text()
    functions = re.findall(r"fn (?:counters|timer)\(.*?\n    \}\n", outcome, re.S)
    emitted = {name for function in functions for name in re.findall(r'"(\w+)"', function)}

    alarmed = {resource["values"]["metric_name"] for resource in resources
               if resource["type"] == "aws_cloudwatch_metric_alarm" and resource["values"]["namespace"] == namespace}
    expect(alarmed and alarmed <= emitted, f"alarms on metrics that nobody emits: {sorted(alarmed - emitted)}")
    name = one(resources, SUBMIT_FUNCTION)["function_name"]
    shown = set()
    for widget in json.loads(one(resources, "aws_cloudwatch_dashboard.this")["dashboard_body"])["widgets"]:
        for metric in widget["properties"]["metrics"]:
            if metric[0] == namespace:
                expect(metric[2:4] == ["FunctionName", name], f"the dashboard asks for {metric}")
                shown.add(metric[1])
    expect(shown == emitted, f"dashboard and function differ in {sorted(shown ^ emitted)}")


def code_knows_the_tables_keys(resources):
    sources = "".join(path.read_text() for path in sorted((ROOT / "lambdas" / "tables" / "src").glob("*.rs")))
    for table in (resource["values"] for resource in resources if resource["type"] == "aws_dynamodb_table"):
        attributes = [attribute["name"] for attribute in table["attribute"]]
        attributes += [ttl["attribute_name"] for ttl in table["ttl"] if ttl["enabled"]]
        for attribute in attributes:
            # As a name of its own, or as a field that serde renames to camelCase.
            snake = re.sub(r"(?<=[a-z])([A-Z])", lambda match: f"_{match.group(1).lower()}", attribute)
            written = f'"{attribute}"' in sources or re.search(rf"\b{re.escape(snake)}:", sources)
            expect(written, f"{table['name']}: the code writes no {attribute}")


def local_tables_are_the_deployed_ones(resources):
    """Keys, indexes with what they copy, and expiry: the local pipeline is started and its tables are asked."""
    deployed = {}
    for table in (resource["values"] for resource in resources if resource["type"] == "aws_dynamodb_table"):
        indexes = {index["name"]: (index["hash_key"], index["range_key"], index["projection_type"], sorted(index["non_key_attributes"] or []))
                   for index in table["global_secondary_index"]}
        expiry = [ttl["attribute_name"] for ttl in table["ttl"] if ttl["enabled"]]
        deployed[table["name"].rsplit("-", 1)[1]] = (table["hash_key"], table["range_key"], indexes, expiry)
    here = local_tables(sorted(deployed))
    for name, table in deployed.items():
        expect(table == here[name], f"{name} is deployed as {table}, and here it is {here[name]}")


def local_tables(names):
    build = subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "local"], cwd=ROOT)
    expect(build.returncode == 0, "the local pipeline does not build")
    folder = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    with tempfile.TemporaryDirectory() as data:
        ready = pathlib.Path(data) / "ready.json"
        ports = ["--api-port", "0", "--queue-port", "0", "--table-port", "0"]
        command = [pathlib.Path(folder) / "debug" / "local", *ports, "--data-dir", pathlib.Path(data) / "data", "--ready-file", ready]
        with (pathlib.Path(data) / "log").open("w") as log:
            pipeline = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 600
            while not ready.exists():
                expect(pipeline.poll() is None, f"the local pipeline ended: {(pathlib.Path(data) / 'log').read_text()[-2000:]}")
                expect(time.monotonic() < deadline, "the local pipeline was not ready within ten minutes")
                time.sleep(0.2)
            return {name: described(json.loads(ready.read_text())["table"], name) for name in names}
        finally:
            pipeline.terminate()
            pipeline.wait(60)


def described(url, name):
    credentials = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
    client = botocore.session.get_session().create_client("dynamodb", region_name="eu-west-2", endpoint_url=url, **credentials)
    table = client.describe_table(TableName=name)["Table"]
    expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    indexes = {index["IndexName"]: (*keys(index), index["Projection"]["ProjectionType"], sorted(index["Projection"].get("NonKeyAttributes", [])))
               for index in table["GlobalSecondaryIndexes"]}
    return (*keys(table), indexes, [expiry["AttributeName"]] if expiry["TimeToLiveStatus"] == "ENABLED" else [])


def keys(described):
    names = {key["KeyType"]: key["AttributeName"] for key in described["KeySchema"]}
    return names["HASH"], names["RANGE"]


def alarms_name_their_runbook(resources):
    sections = re.findall(r"^### (.+)$", (ROOT / "infra" / "RUNBOOKS.md").read_text(), re.M)
    alarms = [resource["values"] for resource in resources if resource["type"] == "aws_cloudwatch_metric_alarm"]
    expect(alarms, "the state has no alarm")
    for alarm in alarms:
        named = re.search(r"#([\w-]+)$", alarm["alarm_description"])
        expect(named and named.group(1) in sections, f"{alarm['alarm_name']} names no runbook: {alarm['alarm_description']}")


def unpacked(function, folder):
    package = pathlib.Path(function["values"]["filename"])
    program = folder / package.stem
    with zipfile.ZipFile(package) as archive:
        expect(archive.namelist() == ["bootstrap"], f"{package} holds {archive.namelist()}")
        program.write_bytes(archive.read("bootstrap"))
    program.chmod(0o755)
    return program


def flat(module):
    return module.get("resources", []) + [resource for child in module.get("child_modules", []) for resource in flat(child)]


def one(resources, address):
    [values] = [resource["values"] for resource in resources if resource["address"] == address]
    return values


def many(value):
    return value if isinstance(value, list) else [value]


def expect(condition, otherwise):
    if not condition:
        sys.exit(f"agreement: {otherwise}")


if __name__ == "__main__":
    main()
