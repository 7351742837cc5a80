data "aws_partition" "current" {}

locals {
  partition = data.aws_partition.current.partition

  # Stands before every name, so that two environments can share an account.
  prefix = "remit-${var.environment}"

  # Stands before the names that one account has once for all its Regions, those of roles and dashboards, so
  # that the same environment can stand in two Regions.
  account_wide_prefix = "${local.prefix}-${var.region}"

  name = {
    payments_table = "${local.prefix}-PaymentsTable"
    refusals_table = "${local.prefix}-RefusalsTable"
    index          = "byUser"
    held_index     = "held"
  }

  account_root_arn = "arn:${local.partition}:iam::${var.account_id}:root"
  log_group_arn    = "arn:${local.partition}:logs:${var.region}:${var.account_id}:log-group"

  # Key policies name these: a key serves its service's callers and nobody who calls KMS directly.
  via = {
    sqs      = "sqs.${var.region}.amazonaws.com"
    dynamodb = "dynamodb.${var.region}.amazonaws.com"
    lambda   = "lambda.${var.region}.amazonaws.com"
  }
}
