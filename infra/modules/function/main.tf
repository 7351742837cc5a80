# A Rust function: its role, its log group, versions behind the alias `live`, and their canary release.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

resource "aws_iam_role" "this" {
  name = var.role_name
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Lambda"
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "function"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(var.policy_statements, [
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
      {
        # X-Ray knows no resources.
        Sid      = "WriteTraces"
        Effect   = "Allow"
        Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = "*"
      },
      {
        Sid       = "ReadVariables"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.variables_key_arn
        Condition = { StringEquals = { "kms:ViaService" = var.variables_key_via } }
      },
    ])
  })
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_key_arn
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_116:Its caller keeps what failed: the queue, with a dead-letter queue of its own.
  # checkov:skip=CKV_AWS_117:It talks to AWS APIs only; a VPC would add a network to fail, and endpoints to pay.
  # checkov:skip=CKV_AWS_272:Packages are built and deployed in one run of the deploy workflow, whose role alone may update the code.
  function_name = var.name
  description   = var.description
  role          = aws_iam_role.this.arn

  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.package
  source_code_hash               = filebase64sha256(var.package)
  memory_size                    = var.memory_megabytes
  timeout                        = var.timeout_seconds
  reserved_concurrent_executions = var.reserved_concurrency
  kms_key_arn                    = var.variables_key_arn
  # Each change of code or configuration makes a version, which the alias then takes up as a canary.
  publish = true

  environment {
    variables = var.variables
  }

  logging_config {
    # The function writes JSON itself; Lambda must pass its metric lines on as they are.
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.this.name
  }

  tracing_config {
    mode = "Active"
  }

  # A function that starts before it may log or decrypt its variables fails.
  depends_on = [aws_iam_role_policy.this]
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The version that serves; moved by CodeDeploy only"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version

  lifecycle {
    # Terraform makes the alias; from then on a release moves it.
    ignore_changes = [function_version, routing_config]
  }
}

resource "aws_codedeploy_deployment_group" "this" {
  app_name               = var.release.application
  deployment_group_name  = var.name
  deployment_config_name = var.release.configuration
  service_role_arn       = var.release.role_arn

  deployment_style {
    deployment_type   = "BLUE_GREEN"
    deployment_option = "WITH_TRAFFIC_CONTROL"
  }

  auto_rollback_configuration {
    enabled = true
    events  = ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST"]
  }

  alarm_configuration {
    enabled = true
    alarms  = var.release.alarms
  }
}
