# Both tables: capacity is scaled after creation, so Terraform must not set it back. The index's
# capacity cannot be ignored apart from its index, so an index is changed by taking that line out.

resource "aws_dynamodb_table" "payments" {
  name                        = local.name.payments_table
  billing_mode                = var.table_capacity == null ? "PAY_PER_REQUEST" : "PROVISIONED"
  read_capacity               = try(var.table_capacity.read_min, null)
  write_capacity              = try(var.table_capacity.write_min, null)
  hash_key                    = "paymentId"
  range_key                   = "userId"
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"
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
    read_capacity   = try(var.table_capacity.read_min, null)
    write_capacity  = try(var.table_capacity.write_min, null)
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
  read_capacity               = try(var.table_capacity.read_min, null)
  write_capacity              = try(var.table_capacity.write_min, null)
  hash_key                    = "userId"
  range_key                   = "paymentId#requestId"
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"
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

  global_secondary_index {
    name            = local.name.index
    hash_key        = "userId"
    range_key       = "recordedAt"
    projection_type = "ALL"
    read_capacity   = try(var.table_capacity.read_min, null)
    write_capacity  = try(var.table_capacity.write_min, null)
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
  # Everything that has capacity of its own: each table and its index, reads and writes.
  scaled_resources = merge([
    for table in [local.name.payments_table, local.name.refusals_table] : {
      "table/${table}"                           = "table"
      "table/${table}/index/${local.name.index}" = "index"
    }
  ]...)
  scaled_capacities = var.table_capacity == null ? {} : merge([
    for resource, kind in local.scaled_resources : {
      "${resource} reads" = {
        resource  = resource
        dimension = "dynamodb:${kind}:ReadCapacityUnits"
        metric    = "DynamoDBReadCapacityUtilization"
        min       = var.table_capacity.read_min
        max       = var.table_capacity.read_max
      }
      "${resource} writes" = {
        resource  = resource
        dimension = "dynamodb:${kind}:WriteCapacityUnits"
        metric    = "DynamoDBWriteCapacityUtilization"
        min       = var.table_capacity.write_min
        max       = var.table_capacity.write_max
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
