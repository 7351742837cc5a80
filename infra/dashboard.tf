locals {
  # Outcomes that end a delivery for good.
  counter = { for name in ["Stored", "Duplicate", "Refused", "DeadLettered"] : name => [
    local.metrics_namespace, name, "FunctionName", local.name.submit_payments
  ] }
  queue_metric = { for name in ["NumberOfMessagesSent", "ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed", "ApproximateAgeOfOldestMessage"] : name => [
    "AWS/SQS", name, "QueueName", local.name.queue
  ] }

  # Left to right, then down: x and y are counted from the order.
  widgets = [
    {
      title = "Accepted = stored + duplicate + refused + dead-lettered + in flight (trend: redelivery counts twice)"
      stat  = "Sum"
      metrics = [
        concat(local.queue_metric.NumberOfMessagesSent, [{ id = "accepted", label = "accepted" }]),
        concat(local.counter.Stored, [{ id = "stored", label = "stored" }]),
        concat(local.counter.Duplicate, [{ id = "duplicate", label = "duplicate" }]),
        concat(local.counter.Refused, [{ id = "refused", label = "refused" }]),
        concat(local.counter.DeadLettered, [{ id = "dead", label = "dead-lettered" }]),
        [{ id = "open", expression = "RUNNING_SUM(FILL(accepted,0)-FILL(stored,0)-FILL(duplicate,0)-FILL(refused,0)-FILL(dead,0))", label = "accepted without an outcome" }],
      ]
    },
    {
      title = "In flight"
      stat  = "Maximum"
      metrics = [
        concat(local.queue_metric.ApproximateNumberOfMessagesVisible, [{ label = "waiting" }]),
        concat(local.queue_metric.ApproximateNumberOfMessagesNotVisible, [{ label = "in progress or postponed" }]),
        concat(local.queue_metric.ApproximateNumberOfMessagesDelayed, [{ label = "delayed" }]),
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", local.name.dead_letter_queue, { label = "dead letters" }],
      ]
    },
    {
      title = "Ages, seconds"
      stat  = "Maximum"
      metrics = [
        concat(local.queue_metric.ApproximateAgeOfOldestMessage, [{ label = "oldest payment on the queue" }]),
        ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", local.name.dead_letter_queue, { label = "oldest dead letter", yAxis = "right" }],
      ]
    },
    {
      title = "From acceptance to storage, milliseconds"
      stat  = "p50"
      metrics = [
        [local.metrics_namespace, "AcceptToStore", "FunctionName", local.name.submit_payments, { label = "p50" }],
        [local.metrics_namespace, "AcceptToStore", "FunctionName", local.name.submit_payments, { stat = "p99", label = "p99" }],
        [local.metrics_namespace, "AcceptToStore", "FunctionName", local.name.submit_payments, { stat = "Maximum", label = "slowest" }],
      ]
    },
    {
      title = "Refusals, retries, forgeries"
      stat  = "Sum"
      metrics = [
        [local.metrics_namespace, "Conflict", "FunctionName", local.name.submit_payments],
        [local.metrics_namespace, "OwnerMismatch", "FunctionName", local.name.submit_payments],
        [local.metrics_namespace, "Retried", "FunctionName", local.name.submit_payments],
        [local.metrics_namespace, "Unverified", "FunctionName", local.name.submit_payments],
      ]
    },
    {
      title = "API"
      stat  = "Sum"
      metrics = [
        ["AWS/ApiGateway", "Count", "ApiName", local.api_name, "Stage", local.stage_name],
        ["AWS/ApiGateway", "4XXError", "ApiName", local.api_name, "Stage", local.stage_name],
        ["AWS/ApiGateway", "5XXError", "ApiName", local.api_name, "Stage", local.stage_name],
        ["AWS/ApiGateway", "Latency", "ApiName", local.api_name, "Stage", local.stage_name, { stat = "p99", yAxis = "right" }],
      ]
    },
    {
      title = "Queries"
      stat  = "Sum"
      metrics = [
        ["AWS/Lambda", "Invocations", "FunctionName", local.name.query_payments],
        ["AWS/Lambda", "Errors", "FunctionName", local.name.query_payments],
        ["AWS/Lambda", "Throttles", "FunctionName", local.name.query_payments],
        ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", local.name.query_payments, { stat = "Maximum", label = "answering or waiting" }],
      ]
    },
    {
      title = "Function"
      stat  = "Sum"
      metrics = [
        ["AWS/Lambda", "Invocations", "FunctionName", local.name.submit_payments],
        ["AWS/Lambda", "Errors", "FunctionName", local.name.submit_payments],
        ["AWS/Lambda", "Throttles", "FunctionName", local.name.submit_payments],
        ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", local.name.submit_payments, { stat = "Maximum", yAxis = "right" }],
        ["AWS/Lambda", "Duration", "FunctionName", local.name.submit_payments, { stat = "p99", yAxis = "right" }],
      ]
    },
    {
      title = "Capacity of the tables, units a minute"
      stat  = "Sum"
      metrics = concat([for table in [local.name.payments_table, local.name.refusals_table] : [
        ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", table],
        ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", table, "GlobalSecondaryIndexName", local.name.index],
        ["AWS/DynamoDB", "ConsumedReadCapacityUnits", "TableName", table],
        ["AWS/DynamoDB", "WriteThrottleEvents", "TableName", table, { yAxis = "right" }],
        ["AWS/DynamoDB", "ReadThrottleEvents", "TableName", table, { yAxis = "right" }],
      ]]...)
    },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.account_wide_prefix
  dashboard_body = jsonencode({
    widgets = [for position, widget in local.widgets : {
      type   = "metric"
      x      = 12 * (position % 2)
      y      = 6 * floor(position / 2)
      width  = 12
      height = 6
      properties = {
        title   = widget.title
        region  = var.region
        view    = "timeSeries"
        period  = 60
        stat    = widget.stat
        metrics = widget.metrics
      }
    }]
  })
}
