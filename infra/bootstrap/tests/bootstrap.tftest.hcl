# Who gets in, and what is refused. Run by scripts/check-infra, which also compares the policies with the calls
# that Terraform makes.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-2:123456789012:key/1" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::states" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/some" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }
}

variables {
  account_id    = "123456789012"
  repository    = "example/remit"
  budget_emails = ["ops@remit.invalid"]
}

run "account" {
  assert {
    condition = alltrue([for environment in ["development", "production"] : alltrue([
      one(jsondecode(aws_iam_role.deploy[environment].assume_role_policy).Statement).Condition.StringEquals == {
        "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
        "token.actions.githubusercontent.com:sub" = "repo:example/remit:environment:${environment}"
      },
      one(jsondecode(aws_iam_role.plan[environment].assume_role_policy).Statement).Condition.StringEquals["token.actions.githubusercontent.com:sub"] == "repo:example/remit:environment:${environment}-plan",
    ])])
    error_message = "Each role is for runs in one environment of this repository, and for nobody else."
  }
  assert {
    condition = alltrue([for policies in [aws_iam_policy.read, aws_iam_policy.change, aws_iam_policy.entrust] : alltrue([
      for statement in flatten([for policy in policies : jsondecode(policy.policy).Statement]) :
      statement.Effect == "Allow" && can(statement.Sid) && (flatten([statement.Resource]) != ["*"] || can(statement.Condition))
    ])])
    error_message = "What names no resource of ours is bounded by a condition."
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.states.block_public_acls, aws_s3_bucket_public_access_block.states.block_public_policy,
      aws_s3_bucket_public_access_block.states.ignore_public_acls, aws_s3_bucket_public_access_block.states.restrict_public_buckets,
      one(aws_s3_bucket_versioning.states.versioning_configuration).status == "Enabled",
      one(one(aws_s3_bucket_server_side_encryption_configuration.states.rule).apply_server_side_encryption_by_default).kms_master_key_id == aws_kms_key.states.arn,
      one(jsondecode(aws_s3_bucket_policy.states.policy).Statement).Effect == "Deny",
    ])
    error_message = "States are private, encrypted, and can be taken back."
  }
  assert {
    condition     = toset([for notice in aws_budgets_budget.monthly.notification : "${notice.notification_type} ${notice.threshold}"]) == toset(["ACTUAL 80", "FORECASTED 100"]) && alltrue([for notice in aws_budgets_budget.monthly.notification : length(notice.subscriber_email_addresses) > 0])
    error_message = "Somebody hears of the cost before the month is over."
  }
}

run "workflows_of_any_repository_are_refused" {
  command = plan
  variables {
    repository = "example/*"
  }
  expect_failures = [var.repository]
}

run "a_budget_that_tells_nobody_is_refused" {
  command = plan
  variables {
    budget_emails = []
  }
  expect_failures = [var.budget_emails]
}
