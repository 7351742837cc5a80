# On demand unless `table_capacity` says otherwise. Provisioned capacity is scaled after the table was made,
# so Terraform must not set it back. An index's capacity cannot be ignored apart from the index: to change an
# index, take `global_secondary_index` out of `ignore_changes` for that one apply. README.md says how to switch.

resource "aws_dynamodb_table" "payments" {
  name                        = local.name.payments_table
  billing_mode                = var.table_capacity == null ? "PAY_PER_REQUEST" : "PROVISIONED"
  read_capacity               = try(var.table_capacity.payments.read_min, null)
  write_capacity              = try(var.table_capacity.payments.write_min, null)
  hash_key                    = "paymentId"
  range_key                   = "userId"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "paymentId"
    type = "S"
  }
  attribute {
    name = "userId"
    type = "S"
  }
  attribute {
    name = "_acceptedAt"
    type = "S"
  }

  global_secondary_index {
    name            = local.name.index
    hash_key        = "userId"
    range_key       = "_acceptedAt"
    projection_type = "KEYS_ONLY"
    read_capacity   = try(var.table_capacity.payments.read_min, null)
    write_capacity  = try(var.table_capacity.payments.write_min, null)
  }

  # No time to live: idempotency never expires.

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = 35
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.tables.arn
  }

  lifecycle {
    ignore_changes = [read_capacity, write_capacity, global_secondary_index]
  }
}

resource "aws_dynamodb_table" "refusals" {
  name                        = local.name.refusals_table
  billing_mode                = var.table_capacity == null ? "PAY_PER_REQUEST" : "PROVISIONED"
  read_capacity               = try(var.table_capacity.refusals.read_min, null)
  write_capacity              = try(var.table_capacity.refusals.write_min, null)
  hash_key                    = "userId"
  range_key                   = "paymentId#requestId"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "userId"
    type = "S"
  }
  attribute {
    name = "paymentId#requestId"
    type = "S"
  }
  attribute {
    name = "recordedAt"
    type = "S"
  }
  attribute {
    name = "heldAt"
    type = "S"
  }

  global_secondary_index {
    name               = local.name.index
    hash_key           = "userId"
    range_key          = "recordedAt"
    projection_type    = "INCLUDE"
    non_key_attributes = setunion(local.refusal_summary, ["heldAt"])
    read_capacity      = try(var.table_capacity.refusals.read_min, null)
    write_capacity     = try(var.table_capacity.refusals.write_min, null)
  }

  # Sparse: only a record of kind `held` has the attribute heldAt.
  global_secondary_index {
    name               = local.name.held_index
    hash_key           = "userId"
    range_key          = "heldAt"
    projection_type    = "INCLUDE"
    non_key_attributes = setunion(local.refusal_summary, ["recordedAt"])
    read_capacity      = try(var.table_capacity.refusals.read_min, null)
    write_capacity     = try(var.table_capacity.refusals.write_min, null)
  }

  # The function writes when a record may go: 400 days after it was made.
  ttl {
    enabled        = true
    attribute_name = "expiresAt"
  }

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = 35
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.tables.arn
  }

  lifecycle {
    ignore_changes = [read_capacity, write_capacity, global_secondary_index]
  }
}

locals {
  # What a list of refusals shows: all but the body, which would cost as much again in each index.
  refusal_summary = [
    "kind", "reason", "message", "fields", "bodyMd5", "paymentId", "requestId", "messageId", "acceptedAt", "expiresAt",
  ]

  # Everything that has capacity of its own: each table and each index, reads and writes.
  scaled_resources = var.table_capacity == null ? {} : merge([
    for table in [
      { name = local.name.payments_table, indexes = [local.name.index], bounds = var.table_capacity.payments },
      { name = local.name.refusals_table, indexes = [local.name.index, local.name.held_index], bounds = var.table_capacity.refusals },
      ] : merge(
      { "table/${table.name}" = { kind = "table", bounds = table.bounds } },
      { for index in table.indexes : "table/${table.name}/index/${index}" => { kind = "index", bounds = table.bounds } },
    )
  ]...)
  scaled_capacities = merge([
    for resource, scaled in local.scaled_resources : {
      "${resource} reads" = {
        resource  = resource
        dimension = "dynamodb:${scaled.kind}:ReadCapacityUnits"
        metric    = "DynamoDBReadCapacityUtilization"
        min       = scaled.bounds.read_min
        max       = scaled.bounds.read_max
      }
      "${resource} writes" = {
        resource  = resource
        dimension = "dynamodb:${scaled.kind}:WriteCapacityUnits"
        metric    = "DynamoDBWriteCapacityUtilization"
        min       = scaled.bounds.write_min
        max       = scaled.bounds.write_max
      }
    }
  ]...)
}

resource "aws_appautoscaling_target" "table" {
  for_each = local.scaled_capacities

  service_namespace  = "dynamodb"
  resource_id        = each.value.resource
  scalable_dimension = each.value.dimension
  min_capacity       = each.value.min
  max_capacity       = each.value.max

  depends_on = [aws_dynamodb_table.payments, aws_dynamodb_table.refusals]
}

resource "aws_appautoscaling_policy" "table" {
  for_each = local.scaled_capacities

  name               = each.value.metric
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.table[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.table[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.table[each.key].scalable_dimension

  target_tracking_scaling_policy_configuration {
    # Per cent of what is provisioned: room for a burst while scaling catches up.
    target_value = 70

    predefined_metric_specification {
      predefined_metric_type = each.value.metric
    }
  }
}
