locals {
  # Outcomes that end a delivery for good.
  counter = { for name in ["Stored", "Duplicate", "Refused", "DeadLettered"] : name => [
    local.metrics_namespace, name, "FunctionName", module.function["submit-payments"].name
  ] }

  # Left to right, then down: x and y are counted from the order.
  widgets = concat(local.payment_widgets, local.queue_widgets, local.function_widgets, [
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
  ])

  payment_widgets = [
    {
      title = "Accepted = stored + duplicate + refused + dead-lettered + in flight (trend: redelivery counts twice)"
      stat  = "Sum"
      metrics = [
        ["AWS/SQS", "NumberOfMessagesSent", "QueueName", module.submit_payment_queue.main.name, { id = "accepted", label = "accepted" }],
        concat(local.counter.Stored, [{ id = "stored", label = "stored" }]),
        concat(local.counter.Duplicate, [{ id = "duplicate", label = "duplicate" }]),
        concat(local.counter.Refused, [{ id = "refused", label = "refused" }]),
        concat(local.counter.DeadLettered, [{ id = "dead", label = "dead-lettered" }]),
        [{ id = "open", expression = "RUNNING_SUM(FILL(accepted,0)-FILL(stored,0)-FILL(duplicate,0)-FILL(refused,0)-FILL(dead,0))", label = "accepted without an outcome" }],
      ]
    },
    {
      title = "From acceptance to storage, milliseconds"
      stat  = "p50"
      metrics = [
        [local.metrics_namespace, "AcceptToStore", "FunctionName", module.function["submit-payments"].name, { label = "p50" }],
        [local.metrics_namespace, "AcceptToStore", "FunctionName", module.function["submit-payments"].name, { stat = "p99", label = "p99" }],
        [local.metrics_namespace, "AcceptToStore", "FunctionName", module.function["submit-payments"].name, { stat = "Maximum", label = "slowest" }],
      ]
    },
    {
      title = "Refusals, retries, forgeries"
      stat  = "Sum"
      metrics = [for name in ["Conflict", "OwnerMismatch", "Retried", "Unverified"] :
        [local.metrics_namespace, name, "FunctionName", module.function["submit-payments"].name]
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
  ]

  # A row for every queue.
  queue_widgets = concat([for name, queue in local.queues : [
    {
      title = "In flight: ${name}-queue"
      stat  = "Maximum"
      metrics = [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.main.name, { label = "waiting" }],
        ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", queue.main.name, { label = "in progress or postponed" }],
        ["AWS/SQS", "ApproximateNumberOfMessagesDelayed", "QueueName", queue.main.name, { label = "delayed" }],
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.dead_letter.name, { label = "dead letters" }],
      ]
    },
    {
      title = "Ages: ${name}-queue, seconds"
      stat  = "Maximum"
      metrics = [
        ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue.main.name, { label = "oldest message" }],
        ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue.dead_letter.name, { label = "oldest dead letter", yAxis = "right" }],
      ]
    },
  ]]...)

  # Half a row for every function.
  function_widgets = [for name, function in module.function : {
    title = "Function: ${name}"
    stat  = "Sum"
    metrics = [
      ["AWS/Lambda", "Invocations", "FunctionName", function.name],
      ["AWS/Lambda", "Errors", "FunctionName", function.name],
      ["AWS/Lambda", "Throttles", "FunctionName", function.name],
      ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", function.name, { stat = "Maximum", yAxis = "right" }],
      ["AWS/Lambda", "Duration", "FunctionName", function.name, { stat = "p99", yAxis = "right" }],
    ]
  }]
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
