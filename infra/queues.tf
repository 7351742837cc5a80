resource "aws_sqs_queue" "submit_payment" {
  name = local.name.queue

  message_retention_seconds  = var.queue_retention_seconds
  visibility_timeout_seconds = var.visibility_timeout_seconds
  max_message_size           = 256 * 1024
  # Long polls: fewer empty receives.
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = aws_kms_key.queues.arn
  kms_data_key_reuse_period_seconds = 5 * 60

  # The function forwards what dies itself, with a reason. This is the backstop for crashes.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter.arn
    maxReceiveCount     = var.receive_count_max
  })
}

resource "aws_sqs_queue" "dead_letter" {
  name = local.name.dead_letter_queue

  # The clock started when the payment was accepted, not when it died.
  message_retention_seconds         = var.dead_letter_retention_seconds
  max_message_size                  = 256 * 1024
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = aws_kms_key.queues.arn
  kms_data_key_reuse_period_seconds = 5 * 60

  lifecycle {
    precondition {
      condition     = var.dead_letter_retention_seconds > var.queue_retention_seconds
      error_message = "Dead letters must be kept longer than the queue keeps messages: one that died late would expire at once."
    }
  }
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letter" {
  queue_url = aws_sqs_queue.dead_letter.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.submit_payment.arn]
  })
}

# Whoever can send could forge the verified user of a payment, so sending is denied to all but these,
# whatever their own policies allow.
resource "aws_sqs_queue_policy" "submit_payment" {
  queue_url = aws_sqs_queue.submit_payment.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "DenyWithoutTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.submit_payment.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "DenySendersButGatewayAndOperator"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.submit_payment.arn
        Condition = {
          ArnNotEquals = { "aws:PrincipalArn" = concat([aws_iam_role.gateway.arn], aws_iam_role.operator[*].arn) }
        }
      },
    ]
  })
}

resource "aws_sqs_queue_policy" "dead_letter" {
  queue_url = aws_sqs_queue.dead_letter.id

  lifecycle {
    precondition {
      condition     = var.environment != "production" || local.operators_exist
      error_message = "Production needs an operator: set operator_user_arns or operator_role_arns, or nobody can take dead letters back in the first outage."
    }
  }

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "DenyWithoutTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.dead_letter.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "DenySendersButFunction"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.dead_letter.arn
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = [module.submit_payments.role_arn] } }
      },
    ]
  })
}
