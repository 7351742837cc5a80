# A queue and its dead-letter queue: encrypted, over TLS only, and each closed to all senders but those named.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

resource "aws_sqs_queue" "main" {
  name = "${var.name}-queue"

  message_retention_seconds  = var.retention_seconds
  visibility_timeout_seconds = var.visibility_timeout_seconds
  max_message_size           = 256 * 1024
  # Long polls: fewer empty receives.
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = var.key_arn
  kms_data_key_reuse_period_seconds = 5 * 60

  # A function forwards what dies itself, with a reason. This is the backstop for crashes.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter.arn
    maxReceiveCount     = var.receive_count_max
  })
}

resource "aws_sqs_queue" "dead_letter" {
  name = "${var.name}-dlq"

  # The clock started when the message was accepted, not when it died.
  message_retention_seconds         = var.dead_letter_retention_seconds
  max_message_size                  = 256 * 1024
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = var.key_arn
  kms_data_key_reuse_period_seconds = 5 * 60

  lifecycle {
    precondition {
      condition     = var.dead_letter_retention_seconds > var.retention_seconds
      error_message = "Dead letters must be kept longer than the queue keeps messages: one that died late would expire at once."
    }
  }
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letter" {
  queue_url = aws_sqs_queue.dead_letter.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.main.arn]
  })
}

# Whoever can send could forge the verified user of a message, so sending is denied to all but these, whatever
# their own policies allow.
resource "aws_sqs_queue_policy" "main" {
  queue_url = aws_sqs_queue.main.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "DenyWithoutTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.main.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "DenyOtherSenders"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.main.arn
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.sender_arns } }
      },
    ]
  })
}

resource "aws_sqs_queue_policy" "dead_letter" {
  queue_url = aws_sqs_queue.dead_letter.id
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
        Sid       = "DenyOtherSenders"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.dead_letter.arn
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.dead_letter_sender_arns } }
      },
    ]
  })
}
