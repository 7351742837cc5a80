# What moto cannot do, each with its reason: these files are the only difference between what is deployed and what
# scripts/check-infra applies to moto. Terraform merges each over its neighbour in a copy of infra/; they are never
# read in infra/ itself. Lines beginning with "drift:" are what a second plan finds because of moto, exactly, and
# with "scan:" what checkov finds in that plan.

# moto keeps which version an alias stood for when the mapping was made, instead of the alias.
# drift: aws_lambda_event_source_mapping.this["submit-payment"] function_name

# moto returns the policy with other white space than it was given.
# drift: module.submit_payment_queue.aws_sqs_queue.main redrive_policy

# moto forgets where a function logs.
# drift: module.function["submit-payments"].aws_lambda_function.this logging_config
# drift: module.function["query-payments"].aws_lambda_function.this logging_config

# moto forgets a deployment group's alarms, and invents a load balancer for it.
# drift: module.function["submit-payments"].aws_codedeploy_deployment_group.this alarm_configuration
# drift: module.function["submit-payments"].aws_codedeploy_deployment_group.this load_balancer_info
# drift: module.function["query-payments"].aws_codedeploy_deployment_group.this alarm_configuration
# drift: module.function["query-payments"].aws_codedeploy_deployment_group.this load_balancer_info

terraform {
  # The state goes with the copy.
  backend "local" {}
}

provider "aws" {
  # moto answers what it does not know with errors that the provider would retry for minutes.
  max_retries = 2
}

# moto does not know scaling of DynamoDB's indexes and fails on the rest.
resource "aws_appautoscaling_target" "table" {
  for_each = {}
}

resource "aws_appautoscaling_policy" "table" {
  for_each = {}
}

# moto has no saved queries.
resource "aws_cloudwatch_query_definition" "one_payment" {
  count = 0
}

resource "aws_cloudwatch_query_definition" "outcomes" {
  count = 0
}

# moto wants an address and a method of every integration; one that only mocks has neither.
resource "aws_api_gateway_rest_api" "payments" {
  body = replace(local.document, "        type: mock\n", "        type: mock\n        uri: none\n        httpMethod: OPTIONS\n")
}
