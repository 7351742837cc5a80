# The deploy workflow's roles. GitHub vouches for each run: which repository, which of its environments. Each
# environment of the stack has two roles: one for pull requests, which reads the configuration and no data, and
# one for main, which changes what belongs to the stack. Neither can read a payment, and the one that deploys
# cannot delete a queue, table, key or user pool: whoever destroys an environment is an administrator.
#
# Whoever deploys decides what the functions may do, so the deploy role could give itself anything by way of
# them. What protects it is who may take it: set reviewers on the GitHub environment.

data "aws_partition" "current" {}

locals {
  partition    = data.aws_partition.current.partition
  issuer       = "token.actions.githubusercontent.com"
  provider_arn = var.make_identity_provider ? aws_iam_openid_connect_provider.github[0].arn : "arn:${local.partition}:iam::${var.account_id}:oidc-provider/${local.issuer}"

  # Who may take a role: runs in these environments of the repository.
  trust = { for name in flatten([for environment in var.environments : [environment, "${environment}-plan"]]) : name => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "RunsOfThisEnvironment"
      Effect    = "Allow"
      Principal = { Federated = local.provider_arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = "repo:${var.repository}:environment:${name}"
      } }
    }]
  }) }
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.make_identity_provider ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

# The names do not begin as those of the stack's own roles do, which the deploy role may change.
resource "aws_iam_role" "plan" {
  for_each = var.environments

  name               = "plan-remit-${each.key}"
  assume_role_policy = local.trust["${each.key}-plan"]
}

resource "aws_iam_role" "deploy" {
  for_each = var.environments

  name               = "deploy-remit-${each.key}"
  assume_role_policy = local.trust[each.key]
}

resource "aws_iam_role_policy_attachment" "plan" {
  for_each = var.environments

  role       = aws_iam_role.plan[each.key].name
  policy_arn = aws_iam_policy.read[each.key].arn
}

resource "aws_iam_role_policy_attachment" "deploy_reads" {
  for_each = var.environments

  role       = aws_iam_role.deploy[each.key].name
  policy_arn = aws_iam_policy.read[each.key].arn
}

resource "aws_iam_role_policy_attachment" "deploy_changes" {
  for_each = var.environments

  role       = aws_iam_role.deploy[each.key].name
  policy_arn = aws_iam_policy.change[each.key].arn
}

resource "aws_iam_role_policy_attachment" "deploy_entrusts" {
  for_each = var.environments

  role       = aws_iam_role.deploy[each.key].name
  policy_arn = aws_iam_policy.entrust[each.key].arn
}
