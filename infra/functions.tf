# Every function, by the name that its package and its folder under lambdas/ have too. Here stands what is its own;
# its role, its part in the policies of the keys, its log group, alarms, dashboard, outputs and release follow.
#
#   keys     whose data it reads or writes: "queues", "tables"
#   queues   the queues that it takes batches from. A function without one is asked through the gateway, and the
#            document names it by a placeholder: <name>_arn, with underscores for hyphens.
#
# No value here may come from what this map makes, such as an event source mapping: that would be a circle, which
# Terraform refuses.

locals {
  functions = {
    submit-payments = {
      description          = "Stores the payments of a batch from the queue"
      memory_megabytes     = var.submit_payments_memory_megabytes
      timeout_seconds      = var.submit_payments_timeout_seconds
      reserved_concurrency = var.submit_payments_reserved_concurrency
      keys                 = ["queues", "tables"]

      queues = {
        submit-payment = {
          main                 = module.submit_payment_queue.main
          dead_letter          = module.submit_payment_queue.dead_letter
          batch_size           = var.submit_payments_batch_size
          batch_window_seconds = var.submit_payments_batch_window_seconds
          maximum_concurrency  = var.submit_payments_maximum_concurrency
          late_seconds         = 5 * 60
        }
      }

      variables = {
        REMIT_PAYMENTS_TABLE        = local.name.payments_table
        REMIT_REFUSALS_TABLE        = local.name.refusals_table
        REMIT_QUEUE_URL             = module.submit_payment_queue.main.url
        REMIT_DEAD_LETTER_QUEUE_URL = module.submit_payment_queue.dead_letter.url
        # The redrive policy's own value: were this one larger, messages would die without a reason.
        REMIT_RECEIVE_COUNT_MAX   = jsondecode(module.submit_payment_queue.main.redrive_policy).maxReceiveCount
        REMIT_RETRY_DELAY_SECONDS = var.submit_payments_retry_delay_seconds
        REMIT_CONCURRENCY         = var.submit_payments_record_concurrency
        REMIT_DEADLINE_MARGIN_MS  = var.submit_payments_deadline_margin_ms
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
          Resource = module.submit_payment_queue.main.arn
        },
        {
          Sid      = "SendDeadLetters"
          Effect   = "Allow"
          Action   = "sqs:SendMessage"
          Resource = module.submit_payment_queue.dead_letter.arn
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
      ]
    }

    query-payments = {
      description = "Says what became of payments"
      # A waiting request costs its memory for as long as it waits, and hardly any processor time.
      memory_megabytes = var.query_payments_memory_megabytes
      # Longer than the longest wait, shorter than the gateway waits: the document says both.
      timeout_seconds      = 28
      reserved_concurrency = var.query_payments_reserved_concurrency
      keys                 = ["tables"]
      queues               = {}

      variables = {
        REMIT_PAYMENTS_TABLE = local.name.payments_table
        REMIT_REFUSALS_TABLE = local.name.refusals_table
        REMIT_CURSOR_KEY     = terraform_data.cursor_key.output
        REMIT_ALLOWED_ORIGIN = var.allowed_origin
        # Before that nothing can have become of a payment.
        REMIT_BATCH_WINDOW_SECONDS = var.submit_payments_batch_window_seconds
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
      ]
    }
  }

  # Every queue by its name, with the function that takes from it.
  queues = merge([for name, function in local.functions : {
    for queue, taken in function.queues : queue => merge(taken, { function = name })
  }]...)

  # Names of the functions that take from a queue, and of those that are asked through the gateway.
  queue_functions   = [for name, function in local.functions : name if length(function.queues) > 0]
  gateway_functions = [for name, function in local.functions : name if length(function.queues) == 0]
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name                 = "${local.prefix}-${each.key}"
  role_name            = "${local.account_wide_prefix}-${each.key}"
  description          = each.value.description
  package              = "${var.package_directory}/${each.key}-${var.architecture}.zip"
  architecture         = var.architecture
  memory_megabytes     = each.value.memory_megabytes
  timeout_seconds      = each.value.timeout_seconds
  reserved_concurrency = each.value.reserved_concurrency
  variables            = each.value.variables
  variables_key_arn    = aws_kms_key.functions.arn
  variables_key_via    = local.via.lambda
  policy_statements    = concat(each.value.policy_statements, [for key in each.value.keys : local.key_statements[key]])
  log_key_arn          = aws_kms_key.operations.arn
  log_retention_days   = var.log_retention_days
  release              = merge(local.release, { alarms = local.release_alarms[each.key] })
}

resource "aws_lambda_event_source_mapping" "this" {
  for_each = local.queues

  event_source_arn = each.value.main.arn
  function_name    = module.function[each.value.function].alias_arn

  # Without this one failed record would bring its whole batch back, and a report of failures would be
  # taken for a success.
  function_response_types            = ["ReportBatchItemFailures"]
  batch_size                         = each.value.batch_size
  maximum_batching_window_in_seconds = each.value.batch_window_seconds

  scaling_config {
    maximum_concurrency = each.value.maximum_concurrency
  }

  lifecycle {
    precondition {
      condition     = each.value.main.visibility_timeout_seconds >= 6 * module.function[each.value.function].timeout_seconds + each.value.batch_window_seconds
      error_message = "The visibility timeout must be at least six function timeouts and the batch window: otherwise messages come back while they are processed, and die early."
    }
    precondition {
      condition     = each.value.batch_size <= 10 || each.value.batch_window_seconds >= 1
      error_message = "A batch of more than ten needs a window of at least a second."
    }
    precondition {
      condition = local.functions[each.value.function].reserved_concurrency == null ? true : (
        sum([for queue in local.functions[each.value.function].queues : queue.maximum_concurrency]) <= local.functions[each.value.function].reserved_concurrency
      )
      error_message = "The maximum concurrency of a function's pollers must not exceed its reserved concurrency: throttled receives count towards the dead-letter queue."
    }
  }
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
