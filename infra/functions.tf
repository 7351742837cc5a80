# Another function is a module like this one, its role in the policies of the keys it needs (keys.tf), and its
# alias in the release role (roles.tf).

module "submit_payments" {
  source = "./modules/function"

  name                 = local.name.submit_payments
  role_name            = "${local.account_wide_prefix}-submit-payments"
  description          = "Stores the payments of a batch from the queue"
  package              = "${var.package_directory}/submit-payments-${var.architecture}.zip"
  architecture         = var.architecture
  memory_megabytes     = var.memory_megabytes
  timeout_seconds      = var.function_timeout_seconds
  reserved_concurrency = var.reserved_concurrency
  variables_key_arn    = aws_kms_key.functions.arn
  variables_key_via    = local.via.lambda
  log_key_arn          = aws_kms_key.operations.arn
  log_retention_days   = var.log_retention_days

  variables = {
    REMIT_PAYMENTS_TABLE        = local.name.payments_table
    REMIT_REFUSALS_TABLE        = local.name.refusals_table
    REMIT_QUEUE_URL             = aws_sqs_queue.submit_payment.url
    REMIT_DEAD_LETTER_QUEUE_URL = aws_sqs_queue.dead_letter.url
    # The redrive policy's own value: were this one larger, messages would die without a reason.
    REMIT_RECEIVE_COUNT_MAX   = jsondecode(aws_sqs_queue.submit_payment.redrive_policy).maxReceiveCount
    REMIT_RETRY_DELAY_SECONDS = var.retry_delay_seconds
    REMIT_CONCURRENCY         = var.record_concurrency
    REMIT_DEADLINE_MARGIN_MS  = var.deadline_margin_ms
  }

  policy_statements = [
    {
      # The first three are the event source mapping's, which acts as this role.
      Sid    = "ReceivePayments"
      Effect = "Allow"
      Action = [
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:ChangeMessageVisibility",
      ]
      Resource = aws_sqs_queue.submit_payment.arn
    },
    {
      Sid      = "SendDeadLetters"
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = aws_sqs_queue.dead_letter.arn
    },
    {
      Sid      = "PutPaymentsAndRefusals"
      Effect   = "Allow"
      Action   = "dynamodb:PutItem"
      Resource = [aws_dynamodb_table.payments.arn, aws_dynamodb_table.refusals.arn]
    },
    {
      # Before a payment is refused as invalid: a rule that became stricter does not judge what is stored.
      Sid      = "GetPayments"
      Effect   = "Allow"
      Action   = "dynamodb:GetItem"
      Resource = aws_dynamodb_table.payments.arn
    },
    local.queue_key_statement,
    local.table_key_statement,
  ]

  release = local.release
}

module "query_payments" {
  source = "./modules/function"

  name         = local.name.query_payments
  role_name    = "${local.account_wide_prefix}-query-payments"
  description  = "Says what became of payments"
  package      = "${var.package_directory}/query-payments-${var.architecture}.zip"
  architecture = var.architecture
  # A waiting request costs its memory for as long as it waits, and hardly any processor time.
  memory_megabytes = var.query_memory_megabytes
  # Longer than the longest wait, shorter than the gateway waits: the document says both.
  timeout_seconds      = 28
  reserved_concurrency = var.query_reserved_concurrency
  variables_key_arn    = aws_kms_key.functions.arn
  variables_key_via    = local.via.lambda
  log_key_arn          = aws_kms_key.operations.arn
  log_retention_days   = var.log_retention_days

  variables = {
    REMIT_PAYMENTS_TABLE = local.name.payments_table
    REMIT_REFUSALS_TABLE = local.name.refusals_table
    REMIT_CURSOR_KEY     = terraform_data.cursor_key.output
    REMIT_ALLOWED_ORIGIN = var.allowed_origin
    # The mapping's own value: before that nothing can have become of a payment.
    REMIT_BATCH_WINDOW_SECONDS = aws_lambda_event_source_mapping.submit_payments.maximum_batching_window_in_seconds
  }

  # Nothing that writes.
  policy_statements = [
    {
      Sid      = "ReadPayments"
      Effect   = "Allow"
      Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem"]
      Resource = aws_dynamodb_table.payments.arn
    },
    {
      # What is on record of one request.
      Sid      = "ReadRefusals"
      Effect   = "Allow"
      Action   = "dynamodb:GetItem"
      Resource = aws_dynamodb_table.refusals.arn
    },
    {
      Sid    = "ListPaymentsAndRefusals"
      Effect = "Allow"
      Action = "dynamodb:Query"
      Resource = [
        aws_dynamodb_table.refusals.arn,
        "${aws_dynamodb_table.refusals.arn}/index/${local.name.index}",
        local.held_index_arn,
        "${aws_dynamodb_table.payments.arn}/index/${local.name.index}",
      ]
    },
    local.table_key_statement,
  ]

  release = local.release
}

# Signs the cursors of listings. It is made once and stands in the state and in the function's variables;
# whoever reads it there could make cursors, and with them see no payments but their own. Replace this
# resource to change it: clients then begin their listings anew.
data "aws_secretsmanager_random_password" "cursor_key" {
  password_length     = 64
  exclude_punctuation = true
}

resource "terraform_data" "cursor_key" {
  input = data.aws_secretsmanager_random_password.cursor_key.random_password

  lifecycle {
    # Each plan reads another one.
    ignore_changes = [input]
  }
}

resource "aws_lambda_event_source_mapping" "submit_payments" {
  event_source_arn = aws_sqs_queue.submit_payment.arn
  function_name    = module.submit_payments.alias_arn

  # Without this one failed record would bring its whole batch back, and a report of failures would be
  # taken for a success.
  function_response_types            = ["ReportBatchItemFailures"]
  batch_size                         = var.batch_size
  maximum_batching_window_in_seconds = var.batch_window_seconds

  scaling_config {
    maximum_concurrency = var.maximum_concurrency
  }

  lifecycle {
    precondition {
      condition     = aws_sqs_queue.submit_payment.visibility_timeout_seconds >= 6 * module.submit_payments.timeout_seconds + var.batch_window_seconds
      error_message = "The visibility timeout must be at least six function timeouts and the batch window: otherwise messages come back while they are processed, and die early."
    }
    precondition {
      condition     = var.batch_size <= 10 || var.batch_window_seconds >= 1
      error_message = "A batch of more than ten needs a window of at least a second."
    }
    precondition {
      condition     = var.reserved_concurrency == null ? true : var.maximum_concurrency <= var.reserved_concurrency
      error_message = "The pollers' maximum concurrency must not exceed the function's reserved concurrency: throttled receives count towards the dead-letter queue."
    }
  }
}
