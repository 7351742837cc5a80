# Every alarm is a page (somebody gets up: payments may be lost, late or forged) or a ticket (somebody looks
# tomorrow), and each tells its topic itself. One composite alarm above them would not do: while it is in
# ALARM for one reason it says nothing when another one joins.
#
# An alarm's description names its section in the runbooks: `runbook`, or else the alarm's key. The alarms that every
# function or every queue has share a section. `function` is the function that an alarm is about; where `rolls_back`
# is true, the alarm takes that function's release back (releases.tf).

locals {
  function_dimensions = { for name in keys(local.functions) : name => { FunctionName = "${local.prefix}-${name}" } }
  # What was submitted and what was asked count apart: the metrics of one method need metrics_enabled (api.tf).
  submit_dimensions = { ApiName = local.api_name, Stage = local.stage_name, Method = "PUT", Resource = "/submit" }
  status_dimensions = { ApiName = local.api_name, Stage = local.stage_name, Method = "GET", Resource = "/payments/{paymentId}" }

  # The functions' own namespace.
  metrics_namespace = "Remit"

  # Each has capacity, and throttles, of its own.
  capacities = {
    payments-table = { TableName = local.name.payments_table }
    payments-index = { TableName = local.name.payments_table, GlobalSecondaryIndexName = local.name.index }
    refusals-table = { TableName = local.name.refusals_table }
    refusals-index = { TableName = local.name.refusals_table, GlobalSecondaryIndexName = local.name.index }
    held-index     = { TableName = local.name.refusals_table, GlobalSecondaryIndexName = local.name.held_index }
  }

  # key = what is wrong. Threshold: alarmed above it, in `periods` periods in a row.
  alarms = merge(
    local.function_alarms, local.queue_function_alarms, local.gateway_function_alarms, local.queue_alarms,
    local.payment_alarms, local.submission_alarms, local.throttle_alarms,
  )

  # Of every function. What one that takes from a queue fails to do waits unseen, so that is a page. Where one behind
  # the gateway fails, clients get a 5xx, and the alarm on that pages.
  function_alarms = merge([for name in keys(local.functions) : {
    "${name}-errors" = {
      kind        = contains(local.queue_functions, name) ? "page" : "ticket", rolls_back = true
      function    = name
      runbook     = "function-errors"
      description = "More than 1 % of invocations failed whole."
      # One that fails alone is repeated, so the alarm needs two of them.
      expression = "IF(errors >= 2, errors / invocations, 0)"
      metrics = {
        errors      = { namespace = "AWS/Lambda", metric = "Errors", dimensions = local.function_dimensions[name], statistic = "Sum" }
        invocations = { namespace = "AWS/Lambda", metric = "Invocations", dimensions = local.function_dimensions[name], statistic = "Sum" }
      }
      period = 5 * 60, periods = 1, threshold = 0.01
    }
    "${name}-throttles" = {
      kind        = contains(local.queue_functions, name) ? "page" : "ticket", rolls_back = false
      function    = name
      runbook     = "function-throttles"
      description = "Invocations were refused for want of concurrency."
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.function_dimensions[name]
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
  }]...)

  # Of every function that takes from a queue.
  queue_function_alarms = merge([for name in local.queue_functions : {
    # Also says so when somebody has emptied the dead-letter queue in the meantime.
    "${name}-dead-lettered" = {
      kind        = "page", rolls_back = true
      function    = name
      runbook     = "function-dead-lettered"
      description = "The function sent messages to its dead-letter queue."
      namespace   = local.metrics_namespace, metric = "DeadLettered", dimensions = local.function_dimensions[name]
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
  }]...)

  # Of every function behind the gateway.
  gateway_function_alarms = merge([for name in local.gateway_functions : {
    # Before anybody is refused. Without a reserve it is measured by what the smallest account has in all.
    "${name}-nearly-full" = {
      kind        = "ticket", rolls_back = false
      function    = name
      runbook     = "function-nearly-full"
      description = "More than 80 % of the function's reserved concurrency is in use."
      namespace   = "AWS/Lambda", metric = "ConcurrentExecutions", dimensions = local.function_dimensions[name]
      statistic   = "Maximum", period = 60, periods = 3, threshold = 0.8 * coalesce(local.functions[name].reserved_concurrency, 10)
    }
  }]...)

  # Of every queue with its dead-letter queue.
  queue_alarms = merge([for name, queue in local.queues : {
    "${name}-queue-late" = {
      kind        = "page", rolls_back = true
      function    = queue.function
      runbook     = "queue-late"
      description = "The oldest message on the queue has waited for more than ${queue.late_seconds / 60} minutes."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = { QueueName = queue.main.name }
      statistic   = "Maximum", period = 60, periods = 3, threshold = queue.late_seconds
    }
    "${name}-dlq-waiting" = {
      kind        = "page", rolls_back = false
      function    = queue.function
      runbook     = "dlq-waiting"
      description = "Dead letters wait for an operator."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = queue.dead_letter.name }
      statistic   = "Maximum", period = 60, periods = 1, threshold = 0
    }
    "${name}-dlq-ageing" = {
      kind        = "ticket", rolls_back = false
      function    = queue.function
      runbook     = "dlq-ageing"
      description = "The oldest dead letter is seven days old: export it before it expires."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = { QueueName = queue.dead_letter.name }
      statistic   = "Maximum", period = 5 * 60, periods = 1, threshold = 7 * 24 * 60 * 60
    }
  }]...)

  # What is particular to payments, each on one metric.
  payment_alarms = {
    unverified-messages = {
      kind        = "page", rolls_back = false
      function    = "submit-payments"
      description = "Messages without a verified user: somebody other than the gateway wrote to the queue."
      namespace   = local.metrics_namespace, metric = "Unverified", dimensions = local.function_dimensions["submit-payments"]
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    owner-mismatch-rate = {
      kind        = "page", rolls_back = false
      function    = "submit-payments"
      description = "Somebody submits payments for other users at a rate."
      namespace   = local.metrics_namespace, metric = "OwnerMismatch", dimensions = local.function_dimensions["submit-payments"]
      statistic   = "Sum", period = 5 * 60, periods = 1, threshold = 20
    }
    owner-mismatches = {
      kind        = "ticket", rolls_back = false
      function    = "submit-payments"
      description = "Somebody submitted a payment for another user."
      namespace   = local.metrics_namespace, metric = "OwnerMismatch", dimensions = local.function_dimensions["submit-payments"]
      statistic   = "Sum", period = 5 * 60, periods = 1, threshold = 0
    }
    conflicts = {
      kind        = "ticket", rolls_back = false
      function    = "submit-payments"
      description = "Clients reuse payment ids for other payments."
      namespace   = local.metrics_namespace, metric = "Conflict", dimensions = local.function_dimensions["submit-payments"]
      statistic   = "Sum", period = 5 * 60, periods = 1, threshold = 5
    }
    submit-payments-slow = {
      kind        = "ticket", rolls_back = false
      function    = "submit-payments"
      description = "Batches come near the function's timeout."
      namespace   = "AWS/Lambda", metric = "Duration", dimensions = local.function_dimensions["submit-payments"]
      statistic   = "p99", period = 5 * 60, periods = 3, threshold = 0.8 * (var.submit_payments_timeout_seconds * 1000 - var.submit_payments_deadline_margin_ms)
    }
    # A client whose question fails asks again, and its payment is processed meanwhile, so more may fail than of
    # the submissions. A lack of concurrency for those who wait shows here, too.
    questions-failing = {
      kind        = "page", rolls_back = false
      description = "More than 5 % of questions about a payment were answered with a 5xx."
      namespace   = "AWS/ApiGateway", metric = "5XXError", dimensions = local.status_dimensions
      statistic   = "Average", period = 60, periods = 3, threshold = 0.05
    }
    submissions-failing = {
      kind        = "page", rolls_back = false
      description = "More than 0.5 % of submissions were answered with a 5xx."
      # The average of this metric is a rate.
      namespace = "AWS/ApiGateway", metric = "5XXError", dimensions = local.submit_dimensions
      statistic = "Average", period = 60, periods = 3, threshold = 0.005
    }
    submissions-refused = {
      kind        = "ticket", rolls_back = false
      description = "More than 10 % of submissions were answered with a 4xx."
      namespace   = "AWS/ApiGateway", metric = "4XXError", dimensions = local.submit_dimensions
      statistic   = "Average", period = 5 * 60, periods = 3, threshold = 0.1
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
  }

  # Each on several metrics: how many of how many. Few requests prove nothing, so each asks for a minimum.
  submission_alarms = {
    submissions-none-accepted = {
      kind        = "page", rolls_back = false
      description = "Payments are submitted and not one is accepted."
      expression  = "IF((requests >= 10) AND (refused + failed >= requests), 1, 0)"
      metrics     = local.submission_metrics
      period      = 5 * 60, periods = 2, threshold = 0
    }
    submissions-mostly-refused = {
      kind        = "page", rolls_back = false
      description = "Most submissions were answered with a 4xx: sign-in, the firewall or the document refuses honest clients."
      expression  = "IF(requests >= 20, refused / requests, 0)"
      metrics     = local.submission_metrics
      period      = 5 * 60, periods = 2, threshold = 0.5
    }
  }
  submission_metrics = {
    requests = { namespace = "AWS/ApiGateway", metric = "Count", dimensions = local.submit_dimensions, statistic = "SampleCount" }
    refused  = { namespace = "AWS/ApiGateway", metric = "4XXError", dimensions = local.submit_dimensions, statistic = "Sum" }
    failed   = { namespace = "AWS/ApiGateway", metric = "5XXError", dimensions = local.submit_dimensions, statistic = "Sum" }
  }

  # A refused write is a payment that is late, and dies when it lasts; a refused read is a question that fails.
  throttle_alarms = merge([for place, dimensions in local.capacities : {
    "${place}-writes-throttled" = {
      kind        = "page", rolls_back = false
      description = "Writes were refused for want of capacity (an index's refusals stop its table)."
      namespace   = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = dimensions
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
    "${place}-reads-throttled" = {
      kind        = "ticket", rolls_back = false
      description = "Reads were refused for want of capacity."
      namespace   = "AWS/DynamoDB", metric = "ReadThrottleEvents", dimensions = dimensions
      statistic   = "Sum", period = 60, periods = 3, threshold = 0
    }
  }]...)

  # Watched where capacity is provisioned at all.
  watched_capacities = var.table_capacity == null ? {} : { for place, dimensions in local.capacities : "${place}-nearly-full" => dimensions }

  # Each alarm's section in RUNBOOKS.md, which its description ends with.
  runbook = merge(
    { for key, alarm in local.alarms : key => try(alarm.runbook, key) },
    { for key in keys(local.watched_capacities) : key => key },
  )

  topics = { page = aws_sns_topic.page.arn, ticket = aws_sns_topic.ticket.arn }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: ${var.runbooks_url}#${local.runbook[each.key]}"
  alarm_actions       = [local.topics[each.value.kind]]
  ok_actions          = each.value.kind == "page" ? [local.topics.page] : []
  namespace           = try(each.value.namespace, null)
  metric_name         = try(each.value.metric, null)
  dimensions          = try(each.value.dimensions, null)
  statistic           = try(startswith(each.value.statistic, "p"), true) ? null : each.value.statistic
  extended_statistic  = try(startswith(each.value.statistic, "p"), false) ? each.value.statistic : null
  period              = can(each.value.expression) ? null : each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  # Metrics of things that did not happen are missing, not zero.
  treat_missing_data = "notBreaching"

  dynamic "metric_query" {
    for_each = can(each.value.expression) ? { ratio = each.value.expression } : {}

    content {
      id          = metric_query.key
      expression  = metric_query.value
      label       = each.key
      return_data = true
    }
  }

  dynamic "metric_query" {
    for_each = try(each.value.metrics, {})

    content {
      id = metric_query.key

      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.metric
        dimensions  = metric_query.value.dimensions
        stat        = metric_query.value.statistic
        period      = each.value.period
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "capacity" {
  for_each = local.watched_capacities

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = "More than 80 % of the provisioned writes are consumed: scaling does not keep up, or is at its maximum. Runbook: ${var.runbooks_url}#${local.runbook[each.key]}"
  alarm_actions       = [local.topics.ticket]
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

resource "aws_sns_topic" "page" {
  name              = "${local.prefix}-page"
  kms_master_key_id = aws_kms_key.operations.arn

  lifecycle {
    precondition {
      condition     = var.environment != "production" || length(var.page_emails) + length(var.page_urls) > 0
      error_message = "Production pages nobody: set page_emails or page_urls."
    }
  }
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

resource "aws_sns_topic_subscription" "page_url" {
  for_each = toset(var.page_urls)

  topic_arn              = aws_sns_topic.page.arn
  protocol               = "https"
  endpoint               = each.value
  endpoint_auto_confirms = true
}

resource "aws_sns_topic_subscription" "ticket" {
  for_each = toset(var.ticket_emails)

  topic_arn = aws_sns_topic.ticket.arn
  protocol  = "email"
  endpoint  = each.value
}
