# Four keys, one for each kind of data: who may read one kind gains nothing for another.
# The account's root stands in each policy, or nobody could administer the key: IAM policies of this
# account then decide who does. The roles use a key through its service only.

locals {
  key_administration = {
    Sid       = "AccountAdministersKey"
    Effect    = "Allow"
    Principal = { AWS = local.account_root_arn }
    Action    = "kms:*"
    Resource  = "*"
  }

  # The functions that use a key, by what functions.tf says of them.
  function_roles = { for key in ["queues", "tables"] : key => [
    for name, function in local.functions : module.function[name].role_arn if contains(function.keys, key)
  ] }
}

resource "aws_kms_key" "queues" {
  description             = "Payments on the queues of ${local.prefix}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_kms_key" "tables" {
  description             = "Payments and refusals in the tables of ${local.prefix}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_kms_key" "functions" {
  description             = "Variables of the functions of ${local.prefix}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_kms_key" "operations" {
  description             = "Logs and alarms of ${local.prefix}"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  # Here and not apart, as with the others: a log group cannot be made before its key serves it.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.key_administration,
      {
        Sid       = "LogsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "${local.log_group_arn}:*" } }
      },
      {
        # Alarms publish to encrypted topics. Without a condition: one that CloudWatch did not meet would
        # silence every page. The topics' own policies name this account.
        Sid       = "AlarmsPublish"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
      },
    ]
  })
}

# These policies stand apart from their keys: they name roles whose own policies name the keys.
resource "aws_kms_key_policy" "queues" {
  key_id = aws_kms_key.queues.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.key_administration,
      {
        Sid       = "RolesUseQueues"
        Effect    = "Allow"
        Principal = { AWS = concat([aws_iam_role.gateway.arn], local.function_roles.queues, aws_iam_role.operator[*].arn) }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = local.via.sqs } }
      },
    ]
  })
}

resource "aws_kms_key_policy" "tables" {
  key_id = aws_kms_key.tables.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.key_administration,
      {
        Sid       = "RolesUseTables"
        Effect    = "Allow"
        Principal = { AWS = concat(local.function_roles.tables, aws_iam_role.operator[*].arn) }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = local.via.dynamodb } }
      },
    ]
  })
}

resource "aws_kms_key_policy" "functions" {
  key_id = aws_kms_key.functions.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.key_administration,
      {
        Sid       = "FunctionsReadTheirVariables"
        Effect    = "Allow"
        Principal = { AWS = [for function in module.function : function.role_arn] }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = local.via.lambda } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  for_each = {
    queues     = aws_kms_key.queues.id
    tables     = aws_kms_key.tables.id
    functions  = aws_kms_key.functions.id
    operations = aws_kms_key.operations.id
  }

  name          = "alias/${local.prefix}-${each.key}"
  target_key_id = each.value
}
