# Every alarm is a page (somebody gets up: payments may be lost, late or forged) or a ticket (somebody looks
# tomorrow), and each tells its topic itself. One composite alarm above them would not do: while it is in
# ALARM for one reason it says nothing when another one joins.
#
# An alarm's key is its section in the runbooks, too, which its description names.

locals {
  function_dimensions = { FunctionName = local.name.submit_payments }
  query_dimensions    = { FunctionName = local.name.query_payments }
  queue_dimensions    = { QueueName = local.name.queue }
  dlq_dimensions      = { QueueName = local.name.dead_letter_queue }
  # What was submitted and what was asked count apart: the metrics of one method need metrics_enabled (api.tf).
  submit_dimensions = { ApiName = local.api_name, Stage = local.stage_name, Method = "PUT", Resource = "/submit" }
  status_dimensions = { ApiName = local.api_name, Stage = local.stage_name, Method = "GET", Resource = "/payments/{paymentId}" }

  # The function's own namespace.
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
  alarms = merge(local.metric_alarms, local.ratio_alarms, local.throttle_alarms)

  # Each on one metric.
  metric_alarms = {
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
    function-throttles = {
      kind        = "page", rolls_back = false
      description = "Invocations were refused for want of concurrency; the receives count towards the dead-letter queue."
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.function_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    submissions-failing = {
      kind        = "page", rolls_back = false
      description = "More than 0.5 % of submissions were answered with a 5xx."
      # The average of this metric is a rate.
      namespace = "AWS/ApiGateway", metric = "5XXError", dimensions = local.submit_dimensions
      statistic = "Average", period = 60, periods = 3, threshold = 0.005
    }
    # A client whose question fails asks again, and its payment is processed meanwhile, so more may fail than of
    # the submissions. A lack of concurrency for those who wait shows here, too.
    questions-failing = {
      kind        = "page", rolls_back = false
      description = "More than 5 % of questions about a payment were answered with a 5xx."
      namespace   = "AWS/ApiGateway", metric = "5XXError", dimensions = local.status_dimensions
      statistic   = "Average", period = 60, periods = 3, threshold = 0.05
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
    submissions-refused = {
      kind        = "ticket", rolls_back = false
      description = "More than 10 % of submissions were answered with a 4xx."
      namespace   = "AWS/ApiGateway", metric = "4XXError", dimensions = local.submit_dimensions
      statistic   = "Average", period = 5 * 60, periods = 3, threshold = 0.1
    }
    function-slow = {
      kind        = "ticket", rolls_back = false
      description = "Batches come near the function's timeout."
      namespace   = "AWS/Lambda", metric = "Duration", dimensions = local.function_dimensions
      statistic   = "p99", period = 5 * 60, periods = 3, threshold = 0.8 * (var.function_timeout_seconds * 1000 - var.deadline_margin_ms)
    }
    query-throttles = {
      kind        = "ticket", rolls_back = false
      description = "Queries were refused for want of concurrency: too many clients wait at once."
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = local.query_dimensions
      statistic   = "Sum", period = 60, periods = 1, threshold = 0
    }
    # Before anybody is refused. Without a reserve it is measured by what the smallest account has in all.
    waits-nearly-full = {
      kind        = "ticket", rolls_back = false
      description = "More than 80 % of the queries' reserve is in use: many clients wait at once."
      namespace   = "AWS/Lambda", metric = "ConcurrentExecutions", dimensions = local.query_dimensions
      statistic   = "Maximum", period = 60, periods = 3, threshold = 0.8 * coalesce(var.query_reserved_concurrency, 10)
    }
    dead-letters-ageing = {
      kind        = "ticket", rolls_back = false
      description = "The oldest dead letter is seven days old: export it before it expires."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = local.dlq_dimensions
      statistic   = "Maximum", period = 5 * 60, periods = 1, threshold = 7 * 24 * 60 * 60
    }
  }

  # Each on several metrics: how many of how many. Few requests prove nothing, so each asks for a minimum.
  ratio_alarms = {
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
    # The queue repeats the batch of a single invocation that failed, so the alarm needs two of them.
    function-errors = {
      kind        = "page", rolls_back = true
      description = "More than 1 % of invocations failed whole."
      expression  = local.error_ratio
      metrics     = local.function_metrics
      period      = 5 * 60, periods = 1, threshold = 0.01
    }
    # That clients get no answer pages as questions-failing.
    query-errors = {
      kind        = "ticket", rolls_back = true
      description = "More than 1 % of queries failed whole."
      expression  = local.error_ratio
      metrics     = local.query_metrics
      period      = 5 * 60, periods = 1, threshold = 0.01
    }
  }

  submission_metrics = {
    requests = { namespace = "AWS/ApiGateway", metric = "Count", dimensions = local.submit_dimensions, statistic = "SampleCount" }
    refused  = { namespace = "AWS/ApiGateway", metric = "4XXError", dimensions = local.submit_dimensions, statistic = "Sum" }
    failed   = { namespace = "AWS/ApiGateway", metric = "5XXError", dimensions = local.submit_dimensions, statistic = "Sum" }
  }
  error_ratio = "IF(errors >= 2, errors / invocations, 0)"
  function_metrics = {
    errors      = { namespace = "AWS/Lambda", metric = "Errors", dimensions = local.function_dimensions, statistic = "Sum" }
    invocations = { namespace = "AWS/Lambda", metric = "Invocations", dimensions = local.function_dimensions, statistic = "Sum" }
  }
  query_metrics = {
    errors      = { namespace = "AWS/Lambda", metric = "Errors", dimensions = local.query_dimensions, statistic = "Sum" }
    invocations = { namespace = "AWS/Lambda", metric = "Invocations", dimensions = local.query_dimensions, statistic = "Sum" }
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

  # What an alarm's description ends with.
  runbook = { for key in concat(keys(local.alarms), keys(local.watched_capacities)) : key => "Runbook: ${var.runbooks_url}#${key}" }

  topics = { page = aws_sns_topic.page.arn, ticket = aws_sns_topic.ticket.arn }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = "${each.value.description} ${local.runbook[each.key]}"
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
  alarm_description   = "More than 80 % of the provisioned writes are consumed: scaling does not keep up, or is at its maximum. ${local.runbook[each.key]}"
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
