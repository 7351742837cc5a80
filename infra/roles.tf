# One role for each actor. A function's role stands in modules/function, and what it may do in functions.tf.

locals {
  # What the use of a key is to a role; keys.tf says the same to the key.
  key_statements = {
    queues = {
      Sid       = "UseQueueKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = aws_kms_key.queues.arn
      Condition = { StringEquals = { "kms:ViaService" = local.via.sqs } }
    }
    tables = {
      Sid       = "UseTableKey"
      Effect    = "Allow"
      Action    = "kms:Decrypt"
      Resource  = aws_kms_key.tables.arn
      Condition = { StringEquals = { "kms:ViaService" = local.via.dynamodb } }
    }
  }

  held_index_arn = "${aws_dynamodb_table.refusals.arn}/index/${local.name.held_index}"
}

# The gateway, as which API Gateway sends payments to the queue and asks functions. Its trust has no condition:
# API Gateway sends no aws:SourceAccount when it takes a role, so a demand for one would refuse it and every
# request. What bounds the role is that it may only do the two things below.
resource "aws_iam_role" "gateway" {
  name = "${local.account_wide_prefix}-gateway"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Gateway"
      Effect    = "Allow"
      Principal = { Service = "apigateway.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "gateway" {
  name = "send-and-ask"
  role = aws_iam_role.gateway.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "SendPayments"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = module.submit_payment_queue.main.arn
      },
      {
        Sid      = "AskFunctions"
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = [for name in local.gateway_functions : module.function[name].alias_arn]
      },
      local.key_statements.queues,
    ]
  })
}

# The account's role as which API Gateway writes logs. Without it a stage with logs cannot be made. Its trust
# has no condition, for the gateway's reason.
resource "aws_iam_role" "gateway_logs" {
  count = var.manage_account_log_role ? 1 : 0

  name = "${local.account_wide_prefix}-gateway-logs"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Gateway"
      Effect    = "Allow"
      Principal = { Service = "apigateway.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

# AWS's own policy for this: the role serves all APIs of the region, not only this one.
resource "aws_iam_role_policy_attachment" "gateway_logs" {
  count = var.manage_account_log_role ? 1 : 0

  role       = aws_iam_role.gateway_logs[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

resource "aws_api_gateway_account" "this" {
  count = var.manage_account_log_role ? 1 : 0

  cloudwatch_role_arn = aws_iam_role.gateway_logs[0].arn
  # Otherwise the setting would outlive the role that it names, and later stages could not be made.
  reset_on_delete = true

  depends_on = [aws_iam_role_policy_attachment.gateway_logs]
}

# CodeDeploy, as which versions are shifted.
resource "aws_iam_role" "release" {
  name = "${local.account_wide_prefix}-release"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "CodeDeployOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "codedeploy.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "release" {
  name = "shift-versions"
  role = aws_iam_role.release.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Lambda checks these two on the function's ARN; the alias's alone is not enough.
        Sid      = "ShiftAliases"
        Effect   = "Allow"
        Action   = ["lambda:GetAlias", "lambda:UpdateAlias"]
        Resource = flatten([for function in module.function : [function.arn, function.alias_arn]])
      },
      {
        Sid      = "SeeProvisionedConcurrency"
        Effect   = "Allow"
        Action   = "lambda:GetProvisionedConcurrencyConfig"
        Resource = [for function in module.function : function.alias_arn]
      },
      {
        Sid      = "WatchAlarms"
        Effect   = "Allow"
        Action   = "cloudwatch:DescribeAlarms"
        Resource = [for name in flatten(values(local.release_alarms)) : "arn:${local.partition}:cloudwatch:${var.region}:${var.account_id}:alarm:${name}"]
      },
    ]
  })
}

# The operator: looks at dead letters, takes them back to the queue, exports or discards them.
#
# An IAM user brings proof of a second factor to sts:AssumeRole. A role cannot: the credentials of an assumed
# role and of a sign-in through SAML or OIDC never carry aws:MultiFactorAuthPresent. So a role is accepted by
# its ARN, where the identity provider gives it to nobody without a second factor, and may have to carry a
# session tag besides. It is matched by a pattern, because IAM Identity Center changes the end of its roles'
# names whenever it makes them anew.
locals {
  operators_exist = length(var.operator_user_arns) + length(var.operator_role_arns) > 0

  operator_user_statements = length(var.operator_user_arns) == 0 ? [] : [{
    Sid       = "UsersWithSecondFactor"
    Effect    = "Allow"
    Principal = { AWS = var.operator_user_arns }
    Action    = "sts:AssumeRole"
    Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } }
  }]
  operator_role_statements = length(var.operator_role_arns) == 0 ? [] : [{
    Sid       = "RolesOfIdentityProvider"
    Effect    = "Allow"
    Principal = { AWS = distinct([for arn in var.operator_role_arns : join(":", concat(slice(split(":", arn), 0, 5), ["root"]))]) }
    Action    = "sts:AssumeRole"
    Condition = merge(
      { ArnLike = { "aws:PrincipalArn" = var.operator_role_arns } },
      var.operator_session_tag == null ? {} : {
        StringEquals = { "aws:PrincipalTag/${var.operator_session_tag.key}" = var.operator_session_tag.value }
      }
    )
  }]
}

resource "aws_iam_role" "operator" {
  # checkov:skip=CKV_AWS_61:An account stands there for its roles, and a condition names which: IAM Identity Center's have no lasting ARN.
  count = local.operators_exist ? 1 : 0

  name                 = "${local.account_wide_prefix}-operator"
  max_session_duration = 60 * 60
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.operator_user_statements, local.operator_role_statements)
  })
}

resource "aws_iam_role_policy" "operator" {
  count = local.operators_exist ? 1 : 0

  name = "operate-dead-letters"
  role = aws_iam_role.operator[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "OperateDeadLetters"
        Effect = "Allow"
        Action = [
          "sqs:CancelMessageMoveTask",
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
          "sqs:GetQueueUrl",
          "sqs:ListMessageMoveTasks",
          "sqs:ReceiveMessage",
          "sqs:StartMessageMoveTask",
        ]
        Resource = [for queue in local.queues : queue.dead_letter.arn]
      },
      {
        Sid      = "SendBackToQueue"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"]
        Resource = [for queue in local.queues : queue.main.arn]
      },
      {
        Sid      = "ReadPayments"
        Effect   = "Allow"
        Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem"]
        Resource = aws_dynamodb_table.payments.arn
      },
      {
        # PutItem writes that a dead letter was discarded.
        Sid      = "ReadAndWriteRefusals"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = aws_dynamodb_table.refusals.arn
      },
      {
        Sid    = "ListPaymentsAndRefusals"
        Effect = "Allow"
        Action = "dynamodb:Query"
        Resource = [
          aws_dynamodb_table.payments.arn,
          "${aws_dynamodb_table.payments.arn}/index/${local.name.index}",
          aws_dynamodb_table.refusals.arn,
          "${aws_dynamodb_table.refusals.arn}/index/${local.name.index}",
          local.held_index_arn,
        ]
      },
      {
        # Of one index: it holds nothing but what waits for an operator.
        Sid      = "ListWhatIsHeld"
        Effect   = "Allow"
        Action   = "dynamodb:Scan"
        Resource = local.held_index_arn
      },
      local.key_statements.queues,
      local.key_statements.tables,
    ]
  })
}
