# One role for each actor. A function's role stands in modules/function, what it may do in functions.tf.

locals {
  # What the queues' key allows to whom may use the queues.
  queue_key_statement = {
    Sid       = "UseQueueKey"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = aws_kms_key.queues.arn
    Condition = { StringEquals = { "kms:ViaService" = local.via.sqs } }
  }
  table_key_statement = {
    Sid       = "UseTableKey"
    Effect    = "Allow"
    Action    = "kms:Decrypt"
    Resource  = aws_kms_key.tables.arn
    Condition = { StringEquals = { "kms:ViaService" = local.via.dynamodb } }
  }
}

# The gateway, as which API Gateway sends payments to the queue and asks the query function.
resource "aws_iam_role" "gateway" {
  name = "${local.account_wide_prefix}-gateway"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "GatewayOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "apigateway.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
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
        Resource = aws_sqs_queue.submit_payment.arn
      },
      {
        Sid      = "AskQueryFunction"
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = module.query_payments.alias_arn
      },
      local.queue_key_statement,
    ]
  })
}

# The account's role as which API Gateway writes logs. Without it a stage with logs cannot be made.
resource "aws_iam_role" "gateway_logs" {
  count = var.manage_account_log_role ? 1 : 0

  name = "${local.account_wide_prefix}-gateway-logs"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "GatewayOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "apigateway.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
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
        Sid      = "ShiftAliases"
        Effect   = "Allow"
        Action   = ["lambda:GetAlias", "lambda:GetProvisionedConcurrencyConfig", "lambda:UpdateAlias"]
        Resource = [module.submit_payments.alias_arn, module.query_payments.alias_arn]
      },
      {
        Sid      = "WatchAlarms"
        Effect   = "Allow"
        Action   = "cloudwatch:DescribeAlarms"
        Resource = [for name in local.release.alarms : "arn:${local.partition}:cloudwatch:${var.region}:${var.account_id}:alarm:${name}"]
      },
    ]
  })
}

# The operator: looks at dead letters, takes them back to the queue, exports or discards them.
resource "aws_iam_role" "operator" {
  count = length(var.operator_principal_arns) > 0 ? 1 : 0

  name                 = "${local.account_wide_prefix}-operator"
  max_session_duration = 60 * 60
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OperatorsWithMfa"
      Effect    = "Allow"
      Principal = { AWS = var.operator_principal_arns }
      Action    = "sts:AssumeRole"
      Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } }
    }]
  })
}

resource "aws_iam_role_policy" "operator" {
  count = length(var.operator_principal_arns) > 0 ? 1 : 0

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
        Resource = aws_sqs_queue.dead_letter.arn
      },
      {
        Sid      = "SendBackToQueue"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"]
        Resource = aws_sqs_queue.submit_payment.arn
      },
      {
        Sid      = "ReadPaymentsAndRefusals"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:Query"]
        Resource = flatten([for table in [aws_dynamodb_table.payments, aws_dynamodb_table.refusals] : [table.arn, "${table.arn}/index/${local.name.index}"]])
      },
      local.queue_key_statement,
      local.table_key_statement,
    ]
  })
}
