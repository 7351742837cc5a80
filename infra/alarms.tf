# Every alarm is a page (somebody gets up: payments may be lost, late or forged) or a ticket (somebody
# looks tomorrow). Single alarms act on nothing; one composite alarm for each kind does.

locals {
  function_dimensions = { FunctionName = local.name.submit_payments }
  query_dimensions    = { FunctionName = local.name.query_payments }
  queue_dimensions    = { QueueName = local.name.queue }
  dlq_dimensions      = { QueueName = local.name.dead_letter_queue }
  api_dimensions      = { ApiName = local.api_name, Stage = local.stage_name }

  # The function's own namespace.
  metrics_namespace = "Remit"

  # key = what is wrong. Threshold: alarmed above it, in `periods` periods in a row.
  alarms = {
    dead-letters-waiting = {
      kind        = "page", rolls_back = false
      description = "Dead letters wait for an operator."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = local.dlq_dimensions
      statistic   = "Maximum", period = 60, periods = 1, threshold = 0
    }
    # Also says so when somebody has emptied the queue in the meantime.
    payments-dead-lettered = {
      kind        = "page", rolls_back = true
      description = "The function sent payments to the dead-letter queue."
      namespace   = local.metrics_namespace, metric = "DeadLettered", dimensions = local.function_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    unverified-messages = {
      kind        = "page", rolls_back = false
      description = "Messages without a verified user: somebody other than the gateway wrote to the queue."
      namespace   = local.metrics_namespace, metric = "Unverified", dimensions = local.function_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    owner-mismatch-rate = {
      kind        = "page", rolls_back = false
      description = "Somebody submits payments for other users at a rate."
      namespace   = local.metrics_namespace, metric = "OwnerMismatch", dimensions = local.function_dimensions
      statistic   = "Sum", period = 5 * 60, periods = 1, threshold = 20
    }
    payments-late = {
      kind        = "page", rolls_back = true
      description = "The oldest payment on the queue waits for more than five minutes."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = local.queue_dimensions
      statistic   = "Maximum", period = 60, periods = 3, threshold = 5 * 60
    }
    function-errors = {
      kind        = "page", rolls_back = true
      description = "Invocations failed whole."
      namespace   = "AWS/Lambda", metric = "Errors", dimensions = local.function_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    function-throttles = {
      kind        = "page", rolls_back = false
      description = "Invocations were refused for want of concurrency; the receives count towards the dead-letter queue."
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.function_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    api-server-errors = {
      kind        = "page", rolls_back = false
      description = "More than 0.5 % of requests were answered with a 5xx."
      # The average of this metric is a rate.
      namespace = "AWS/ApiGateway", metric = "5XXError", dimensions = local.api_dimensions
      statistic = "Average", period = 60, periods = 3, threshold = 0.005
    }
    payments-table-errors = {
      kind        = "page", rolls_back = false
      description = "DynamoDB failed on the table of payments."
      namespace   = "AWS/DynamoDB", metric = "SystemErrors", dimensions = { TableName = local.name.payments_table, Operation = "PutItem" }
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
    refusals-table-errors = {
      kind        = "page", rolls_back = false
      description = "DynamoDB failed on the table of refusals."
      namespace   = "AWS/DynamoDB", metric = "SystemErrors", dimensions = { TableName = local.name.refusals_table, Operation = "PutItem" }
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
    payments-table-throttles = {
      kind        = "page", rolls_back = false
      description = "The table of payments refused writes for want of capacity."
      namespace   = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = local.name.payments_table }
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
    payments-index-throttles = {
      kind        = "page", rolls_back = false
      description = "The index of payments refused writes, and the table with it."
      namespace   = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = local.name.payments_table, GlobalSecondaryIndexName = local.name.index }
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
    refusals-table-throttles = {
      kind        = "page", rolls_back = false
      description = "The table of refusals refused writes for want of capacity."
      namespace   = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = local.name.refusals_table }
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
    refusals-index-throttles = {
      kind        = "page", rolls_back = false
      description = "The index of refusals refused writes, and the table with it."
      namespace   = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = local.name.refusals_table, GlobalSecondaryIndexName = local.name.index }
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
    owner-mismatches = {
      kind        = "ticket", rolls_back = false
      description = "Somebody submitted a payment for another user."
      namespace   = local.metrics_namespace, metric = "OwnerMismatch", dimensions = local.function_dimensions
      statistic   = "Sum", period = 5 * 60, periods = 1, threshold = 0
    }
    conflicts = {
      kind        = "ticket", rolls_back = false
      description = "Clients reuse payment ids for other payments."
      namespace   = local.metrics_namespace, metric = "Conflict", dimensions = local.function_dimensions
      statistic   = "Sum", period = 5 * 60, periods = 1, threshold = 5
    }
    api-client-errors = {
      kind        = "ticket", rolls_back = false
      description = "More than 10 % of submissions were answered with a 4xx."
      # Submissions only: to a question that comes too early 404 is the right answer.
      namespace = "AWS/ApiGateway", metric = "4XXError", dimensions = merge(local.api_dimensions, { Method = "PUT", Resource = "/submit" })
      statistic = "Average", period = 5 * 60, periods = 3, threshold = 0.1
    }
    function-slow = {
      kind        = "ticket", rolls_back = false
      description = "Batches come near the function's timeout."
      namespace   = "AWS/Lambda", metric = "Duration", dimensions = local.function_dimensions
      statistic   = "p99", period = 5 * 60, periods = 3, threshold = 0.8 * (var.function_timeout_seconds * 1000 - var.deadline_margin_ms)
    }
    # That clients get no answer pages as api-server-errors.
    query-errors = {
      kind        = "ticket", rolls_back = true
      description = "Queries failed whole."
      namespace   = "AWS/Lambda", metric = "Errors", dimensions = local.query_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    query-throttles = {
      kind        = "ticket", rolls_back = false
      description = "Queries were refused for want of concurrency: too many clients wait at once."
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.query_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    dead-letters-ageing = {
      kind        = "ticket", rolls_back = false
      description = "The oldest dead letter is seven days old: export it before it expires."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = local.dlq_dimensions
      statistic   = "Maximum", period = 5 * 60, periods = 1, threshold = 7 * 24 * 60 * 60
    }
  }

  # Tables and indexes whose consumption is watched, where capacity is provisioned at all.
  watched_capacities = var.table_capacity == null ? {} : {
    payments-table-nearly-full = { TableName = local.name.payments_table }
    payments-index-nearly-full = { TableName = local.name.payments_table, GlobalSecondaryIndexName = local.name.index }
    refusals-table-nearly-full = { TableName = local.name.refusals_table }
    refusals-index-nearly-full = { TableName = local.name.refusals_table, GlobalSecondaryIndexName = local.name.index }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  period              = each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  # Metrics of things that did not happen are missing, not zero.
  treat_missing_data = "notBreaching"
}

resource "aws_cloudwatch_metric_alarm" "capacity" {
  for_each = local.watched_capacities

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = "More than 80 % of the provisioned writes are consumed: scaling does not keep up, or is at its maximum."
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "used"
    expression  = "100 * consumed / PERIOD(consumed) / provisioned"
    label       = "per cent of the provisioned writes"
    return_data = true
  }
  metric_query {
    id = "consumed"
    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ConsumedWriteCapacityUnits"
      dimensions  = each.value
      stat        = "Sum"
      period      = 5 * 60
    }
  }
  metric_query {
    id = "provisioned"
    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ProvisionedWriteCapacityUnits"
      dimensions  = each.value
      stat        = "Average"
      period      = 5 * 60
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "page" {
  alarm_name        = "${local.prefix}-page"
  alarm_description = "Payments may be lost, late or forged: look now."
  alarm_actions     = [aws_sns_topic.page.arn]
  ok_actions        = [aws_sns_topic.page.arn]
  alarm_rule = join(" OR ", [
    for key, alarm in local.alarms : "ALARM(\"${aws_cloudwatch_metric_alarm.this[key].alarm_name}\")" if alarm.kind == "page"
  ])
}

resource "aws_cloudwatch_composite_alarm" "ticket" {
  alarm_name        = "${local.prefix}-ticket"
  alarm_description = "Something needs looking at on the next working day."
  alarm_actions     = [aws_sns_topic.ticket.arn]
  alarm_rule = join(" OR ", concat(
    [for key, alarm in local.alarms : "ALARM(\"${aws_cloudwatch_metric_alarm.this[key].alarm_name}\")" if alarm.kind == "ticket"],
    [for alarm in aws_cloudwatch_metric_alarm.capacity : "ALARM(\"${alarm.alarm_name}\")"],
  ))
}

resource "aws_sns_topic" "page" {
  name              = "${local.prefix}-page"
  kms_master_key_id = aws_kms_key.operations.arn
}

resource "aws_sns_topic" "ticket" {
  name              = "${local.prefix}-ticket"
  kms_master_key_id = aws_kms_key.operations.arn
}

resource "aws_sns_topic_policy" "this" {
  for_each = { page = aws_sns_topic.page.arn, ticket = aws_sns_topic.ticket.arn }

  arn = each.value
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AlarmsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = each.value
        Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
      },
      {
        Sid       = "DenyWithoutTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = each.value
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "page" {
  for_each = toset(var.page_emails)

  topic_arn = aws_sns_topic.page.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_sns_topic_subscription" "ticket" {
  for_each = toset(var.ticket_emails)

  topic_arn = aws_sns_topic.ticket.arn
  protocol  = "email"
  endpoint  = each.value
}
