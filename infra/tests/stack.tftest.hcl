# What loses money when it is wrong, asserted on the whole stack with an invented AWS.
# Run by scripts/check-infra, which gives environments/production.tfvars and an architecture.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-2:123456789012:key/11111111-1111-4111-8111-111111111111" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/some" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-west-2:123456789012:some" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-2:123456789012:log-group:some" }
  }
  mock_resource "aws_api_gateway_stage" {
    defaults = { arn = "arn:aws:apigateway:eu-west-2::/restapis/some/stages/live", invoke_url = "https://some.execute-api.eu-west-2.amazonaws.com/live" }
  }
  mock_resource "aws_wafv2_web_acl" {
    defaults = { arn = "arn:aws:wafv2:eu-west-2:123456789012:regional/webacl/some/1" }
  }
  mock_resource "aws_cognito_user_pool" {
    defaults = { arn = "arn:aws:cognito-idp:eu-west-2:123456789012:userpool/eu-west-2_some" }
  }
  mock_resource "aws_cognito_resource_server" {
    defaults = { scope_identifiers = ["payments/submit", "payments/read"] }
  }
  mock_resource "aws_lambda_alias" {
    defaults = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:submit-payments:live" }
  }
  override_resource {
    target = aws_sns_topic.page
    values = { arn = "arn:aws:sns:eu-west-2:123456789012:page" }
  }
  override_resource {
    target = module.submit_payment_queue.aws_sqs_queue.main
    values = { arn = "arn:aws:sqs:eu-west-2:123456789012:queue", url = "https://sqs/queue" }
  }
  override_resource {
    target = module.submit_payment_queue.aws_sqs_queue.dead_letter
    values = { arn = "arn:aws:sqs:eu-west-2:123456789012:dlq", url = "https://sqs/dlq" }
  }
  override_resource {
    target = aws_dynamodb_table.payments
    values = { arn = "arn:aws:dynamodb:eu-west-2:123456789012:table/payments" }
  }
  override_resource {
    target = aws_dynamodb_table.refusals
    values = { arn = "arn:aws:dynamodb:eu-west-2:123456789012:table/refusals" }
  }
  override_resource {
    target = aws_iam_role.gateway
    values = { arn = "arn:aws:iam::123456789012:role/gateway" }
  }
  override_resource {
    target = aws_iam_role.operator
    values = { arn = "arn:aws:iam::123456789012:role/operator" }
  }
  override_resource {
    target = module.function["submit-payments"].aws_iam_role.this
    values = { arn = "arn:aws:iam::123456789012:role/function" }
  }
  override_resource {
    target = module.function["query-payments"].aws_iam_role.this
    values = { arn = "arn:aws:iam::123456789012:role/query-function" }
  }
  override_resource {
    target = module.function["submit-payments"].aws_lambda_function.this
    values = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:submit-payments" }
  }
  override_resource {
    target = module.function["query-payments"].aws_lambda_function.this
    values = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:query-payments" }
  }
  override_resource {
    target = module.function["query-payments"].aws_lambda_alias.live
    values = { arn = "arn:aws:lambda:eu-west-2:123456789012:function:query-payments:live" }
  }
  override_resource {
    target = aws_kms_key.queues
    values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/queues" }
  }
  override_resource {
    target = aws_kms_key.tables
    values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/tables" }
  }
  override_resource {
    target = aws_kms_key.functions
    values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/functions" }
  }
  override_resource {
    target = aws_kms_key.operations
    values = { arn = "arn:aws:kms:eu-west-2:123456789012:key/operations" }
  }
}

variables {
  account_id         = "123456789012"
  operator_user_arns = ["arn:aws:iam::123456789012:user/on-call"]
  operator_role_arns = ["arn:aws:iam::210987654321:role/aws-reserved/sso.amazonaws.com/eu-west-2/AWSReservedSSO_OnCall_*"]
  page_emails        = ["on-call@remit.invalid"]
}

run "stack" {
  # The document.
  assert {
    condition     = aws_api_gateway_rest_api.payments.body == jsonencode(local.parsed_document) && aws_api_gateway_rest_api.payments.put_rest_api_mode == "overwrite"
    error_message = "The API is the document and nothing else."
  }
  assert {
    condition     = aws_api_gateway_deployment.payments.triggers.document == sha256(jsonencode(local.parsed_document))
    error_message = "A changed document must be deployed."
  }
  assert {
    condition = alltrue(flatten([for path in values(local.parsed_document.paths) : [
      for operation in values(path) : operation["x-amazon-apigateway-integration"].type == "aws_proxy" ? true : operation["x-amazon-apigateway-integration"].passthroughBehavior == "never"
    ]]))
    error_message = "Any other passthrough skips validation for unknown content types."
  }
  assert {
    condition = alltrue(flatten([for path in values(local.parsed_document.paths) : [
      for method, operation in path : method == "options" ? true : length(flatten([for scheme in operation.security : values(scheme)])) > 0
    ]]))
    error_message = "Every operation but OPTIONS demands a token with a scope."
  }
  assert {
    condition = alltrue(flatten([for path in values(local.parsed_document.paths) : [
      for operation in values(path) : alltrue([
        local.parsed_document["x-amazon-apigateway-request-validators"][operation["x-amazon-apigateway-request-validator"]].validateRequestBody,
        local.parsed_document["x-amazon-apigateway-request-validators"][operation["x-amazon-apigateway-request-validator"]].validateRequestParameters,
      ])
    ]]))
    error_message = "Every operation validates body and parameters."
  }
  assert {
    condition = { for status, response in local.parsed_document.paths["/submit"].put["x-amazon-apigateway-integration"].responses : status => response.statusCode } == {
      "200" = "200", "4\\d{2}" = "500", "default" = "503"
    }
    error_message = "Only the queue's own 200 is an acceptance."
  }
  assert {
    condition     = startswith(local.parsed_document.paths["/submit"].put["x-amazon-apigateway-integration"].requestTemplates["application/json"], "Action=SendMessage&MessageBody=$util.urlEncode($input.body)&")
    error_message = "The body is sent whole and encoded."
  }
  assert {
    condition     = !strcontains(local.parsed_document.paths["/submit"].put["x-amazon-apigateway-integration"].requestTemplates["application/json"], "xrayTraceId")
    error_message = "Templates have no such variable: it is documented for access logs only."
  }

  # The queries.
  assert {
    condition = alltrue([for path in ["/payments", "/payments/{paymentId}"] : alltrue([
      local.parsed_document.paths[path].get["x-amazon-apigateway-integration"].type == "aws_proxy",
      strcontains(local.parsed_document.paths[path].get["x-amazon-apigateway-integration"].uri, "function:query-payments:live/invocations"),
      local.parsed_document.paths[path].get.security == [{ users = ["payments/read"] }],
      local.parsed_document.paths[path].get["x-amazon-apigateway-integration"].timeoutInMillis > module.function["query-payments"].timeout_seconds * 1000,
    ])])
    error_message = "Queries go to the alias of their function, for tokens that may read, and its time ends first."
  }
  assert {
    condition     = one([for parameter in local.parsed_document.paths["/payments/{paymentId}"].get.parameters : parameter.schema.maximum if parameter.name == "wait"]) + 2 < module.function["query-payments"].timeout_seconds
    error_message = "The function has time left when the longest wait is over."
  }
  assert {
    condition     = module.function["query-payments"].variables.REMIT_BATCH_WINDOW_SECONDS == tostring(aws_lambda_event_source_mapping.this["submit-payment"].maximum_batching_window_in_seconds)
    error_message = "Retry-After comes from the batching window."
  }

  # The gateway's limits and logs.
  assert {
    condition = alltrue([for settings in [aws_api_gateway_method_settings.all, aws_api_gateway_method_settings.submit] :
      !settings.settings[0].data_trace_enabled && settings.settings[0].throttling_rate_limit == var.throttle_rate && settings.settings[0].throttling_burst_limit == var.throttle_burst
    ])
    error_message = "Throttled, and no bodies in logs."
  }
  assert {
    condition     = aws_api_gateway_method_settings.submit.method_path == "submit/PUT" && aws_api_gateway_stage.live.xray_tracing_enabled
    error_message = "The submission has settings of its own, and the stage is traced."
  }
  assert {
    condition = alltrue([for forbidden in ["authorizer", "sourceIp", "Authorization", "requestOverride", "path\""] :
      !strcontains(aws_api_gateway_stage.live.access_log_settings[0].format, forbidden)
    ])
    error_message = "The access log names no person."
  }
  assert {
    condition = alltrue([for days in flatten([
      aws_cloudwatch_log_group.access.retention_in_days, aws_cloudwatch_log_group.execution.retention_in_days,
      aws_cloudwatch_log_group.firewall.retention_in_days, values(module.function)[*].log_retention_days,
    ]) : days == var.log_retention_days])
    error_message = "Logs end."
  }
  assert {
    condition = alltrue([for group in [aws_cloudwatch_log_group.access, aws_cloudwatch_log_group.execution, aws_cloudwatch_log_group.firewall] :
      group.kms_key_id == aws_kms_key.operations.arn
    ])
    error_message = "Logs are encrypted."
  }
  assert {
    condition = one([for rule in aws_wafv2_web_acl.api.rule : [
      one(rule.action).block != null, one(one(rule.statement).size_constraint_statement).size, one(one(one(one(rule.statement).size_constraint_statement).field_to_match).body).oversize_handling,
    ] if rule.name == "large-bodies"]) == [true, 8192, "MATCH"]
    error_message = "A body that the firewall cannot see whole is blocked."
  }
  assert {
    condition = { for rule in aws_wafv2_web_acl.api.rule : rule.name => [
      one(one(one(rule.action).block).custom_response).response_code,
      one(one(one(rule.action).block).custom_response).custom_response_body_key,
      { for header in one(one(one(rule.action).block).custom_response).response_header : header.name => header.value },
      ] if try(length(one(rule.action).block) > 0, false) } == {
      requests-of-one-address = [429, "too-many-requests", { Retry-After = "60", Access-Control-Allow-Origin = var.allowed_origin, Access-Control-Expose-Headers = "Retry-After" }]
      large-bodies            = [413, "payload-too-large", { Access-Control-Allow-Origin = var.allowed_origin }]
    }
    error_message = "The firewall's own rules answer so that a client knows whether to repeat: never 403 for too many."
  }
  assert {
    condition = { for body in aws_wafv2_web_acl.api.custom_response_body : body.key => jsondecode(body.content).code } == {
      too-many-requests = "too_many_requests", payload-too-large = "payload_too_large"
    }
    error_message = "The firewall answers with the document's codes."
  }
  assert {
    condition     = one(flatten([for rule in aws_wafv2_web_acl.api.rule : [for rate in one(rule.statement).rate_based_statement : rate.limit]])) >= var.throttle_rate * 5 * 60
    error_message = "One back end's address may use the whole API."
  }

  # Identity.
  assert {
    condition     = aws_cognito_user_pool.users.mfa_configuration == "ON" && aws_cognito_user_pool.users.deletion_protection == "ACTIVE"
    error_message = "Users sign in with a second factor, and stay."
  }
  assert {
    condition = [
      aws_cognito_user_pool_client.web.access_token_validity, one(aws_cognito_user_pool_client.web.token_validity_units).access_token,
      aws_cognito_user_pool_client.web.refresh_token_validity, one(aws_cognito_user_pool_client.web.token_validity_units).refresh_token,
      aws_cognito_user_pool_client.web.enable_token_revocation, aws_cognito_user_pool_client.web.prevent_user_existence_errors,
    ] == [5, "minutes", 8, "hours", true, "ENABLED"]
    error_message = "Tokens are short, revocable, and tell nobody who exists."
  }

  # The queues.
  assert {
    condition     = module.submit_payment_queue.main.visibility_timeout_seconds >= 6 * 15 + 1
    error_message = "Messages must not come back while they are processed."
  }
  assert {
    condition     = module.submit_payment_queue.main.message_retention_seconds == 604800 && module.submit_payment_queue.dead_letter.message_retention_seconds == 1209600
    error_message = "Seven days, and fourteen for dead letters."
  }
  assert {
    condition     = alltrue([for queue in local.queues : queue.main.kms_master_key_id == aws_kms_key.queues.arn && queue.dead_letter.kms_master_key_id == aws_kms_key.queues.arn])
    error_message = "All queues are encrypted with our key."
  }
  assert {
    condition     = jsondecode(module.submit_payment_queue.main.redrive_policy) == { deadLetterTargetArn = "arn:aws:sqs:eu-west-2:123456789012:dlq", maxReceiveCount = 5 }
    error_message = "Crashes end on the dead-letter queue after five receives."
  }
  assert {
    condition     = module.submit_payment_queue.policies.redrive_allow == { redrivePermission = "byQueue", sourceQueueArns = ["arn:aws:sqs:eu-west-2:123456789012:queue"] }
    error_message = "No other queue dies here."
  }
  assert {
    condition = module.submit_payment_queue.policies.main == [
      { Sid = "DenyWithoutTls", Effect = "Deny", Principal = "*", Action = "sqs:*", Resource = "arn:aws:sqs:eu-west-2:123456789012:queue", Condition = { Bool = { "aws:SecureTransport" = "false" } } },
      { Sid = "DenyOtherSenders", Effect = "Deny", Principal = "*", Action = "sqs:SendMessage", Resource = "arn:aws:sqs:eu-west-2:123456789012:queue", Condition = { ArnNotEquals = { "aws:PrincipalArn" = ["arn:aws:iam::123456789012:role/gateway", "arn:aws:iam::123456789012:role/operator"] } } },
    ]
    error_message = "Nobody else sends payments, and nobody without TLS."
  }
  assert {
    condition = module.submit_payment_queue.policies.dead_letter == [
      { Sid = "DenyWithoutTls", Effect = "Deny", Principal = "*", Action = "sqs:*", Resource = "arn:aws:sqs:eu-west-2:123456789012:dlq", Condition = { Bool = { "aws:SecureTransport" = "false" } } },
      { Sid = "DenyOtherSenders", Effect = "Deny", Principal = "*", Action = "sqs:SendMessage", Resource = "arn:aws:sqs:eu-west-2:123456789012:dlq", Condition = { ArnNotEquals = { "aws:PrincipalArn" = ["arn:aws:iam::123456789012:role/function"] } } },
    ]
    error_message = "Nobody but the function sends dead letters."
  }

  # From the queue to the function.
  assert {
    condition     = aws_lambda_event_source_mapping.this["submit-payment"].function_response_types == toset(["ReportBatchItemFailures"])
    error_message = "Without it a report of failures acknowledges the batch."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["submit-payment"].function_name == "arn:aws:lambda:eu-west-2:123456789012:function:submit-payments:live"
    error_message = "The mapping invokes the alias, or no release would be a canary."
  }
  assert {
    condition = [
      aws_lambda_event_source_mapping.this["submit-payment"].batch_size, aws_lambda_event_source_mapping.this["submit-payment"].maximum_batching_window_in_seconds,
      one(aws_lambda_event_source_mapping.this["submit-payment"].scaling_config).maximum_concurrency, module.function["submit-payments"].reserved_concurrency,
    ] == [100, 1, 10, 20]
    error_message = "Batches, window, pollers, reserved concurrency."
  }
  assert {
    condition     = aws_api_gateway_account.this[0].reset_on_delete
    error_message = "Destroying leaves no setting that points to a role that is gone."
  }
  assert {
    condition     = module.function["query-payments"].reserved_concurrency == 300
    error_message = "Several hundred clients can wait at once, from a reserve of their own."
  }
  assert {
    condition     = module.function["submit-payments"].variables.REMIT_RECEIVE_COUNT_MAX == "5"
    error_message = "The function knows the redrive policy's count."
  }

  # Who may do what: every action with every resource.
  assert {
    condition = toset(flatten([for statement in module.function["submit-payments"].policy_statements : [
      for action in flatten([statement.Action]) : [for resource in flatten([statement.Resource]) : "${action} ${resource}"]
      ]])) == toset([
      "dynamodb:GetItem arn:aws:dynamodb:eu-west-2:123456789012:table/payments",
      "dynamodb:PutItem arn:aws:dynamodb:eu-west-2:123456789012:table/payments",
      "dynamodb:PutItem arn:aws:dynamodb:eu-west-2:123456789012:table/refusals",
      "kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/functions",
      "kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/queues",
      "kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/tables",
      "kms:GenerateDataKey arn:aws:kms:eu-west-2:123456789012:key/queues",
      "logs:CreateLogStream arn:aws:logs:eu-west-2:123456789012:log-group:some:*",
      "logs:PutLogEvents arn:aws:logs:eu-west-2:123456789012:log-group:some:*",
      "sqs:ChangeMessageVisibility arn:aws:sqs:eu-west-2:123456789012:queue",
      "sqs:DeleteMessage arn:aws:sqs:eu-west-2:123456789012:queue",
      "sqs:GetQueueAttributes arn:aws:sqs:eu-west-2:123456789012:queue",
      "sqs:ReceiveMessage arn:aws:sqs:eu-west-2:123456789012:queue",
      "sqs:SendMessage arn:aws:sqs:eu-west-2:123456789012:dlq",
      "xray:PutTelemetryRecords *",
      "xray:PutTraceSegments *",
    ])
    error_message = "The function's role."
  }
  assert {
    condition = toset(flatten([for statement in module.function["query-payments"].policy_statements : [
      for action in flatten([statement.Action]) : [for resource in flatten([statement.Resource]) : "${action} ${resource}"]
      ]])) == toset([
      "dynamodb:BatchGetItem arn:aws:dynamodb:eu-west-2:123456789012:table/payments",
      "dynamodb:GetItem arn:aws:dynamodb:eu-west-2:123456789012:table/payments",
      "dynamodb:GetItem arn:aws:dynamodb:eu-west-2:123456789012:table/refusals",
      "dynamodb:Query arn:aws:dynamodb:eu-west-2:123456789012:table/payments/index/byUser",
      "dynamodb:Query arn:aws:dynamodb:eu-west-2:123456789012:table/refusals",
      "dynamodb:Query arn:aws:dynamodb:eu-west-2:123456789012:table/refusals/index/byUser",
      "dynamodb:Query arn:aws:dynamodb:eu-west-2:123456789012:table/refusals/index/held",
      "kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/functions",
      "kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/tables",
      "logs:CreateLogStream arn:aws:logs:eu-west-2:123456789012:log-group:some:*",
      "logs:PutLogEvents arn:aws:logs:eu-west-2:123456789012:log-group:some:*",
      "xray:PutTelemetryRecords *",
      "xray:PutTraceSegments *",
    ])
    error_message = "The query function's role only reads."
  }
  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.gateway.policy).Statement : [
      for action in flatten([statement.Action]) : [for resource in flatten([statement.Resource]) : "${action} ${resource}"]
      ]])) == toset(concat([
      "kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/queues",
      "kms:GenerateDataKey arn:aws:kms:eu-west-2:123456789012:key/queues",
      "sqs:SendMessage arn:aws:sqs:eu-west-2:123456789012:queue",
    ], [for name in local.gateway_functions : "lambda:InvokeFunction ${module.function[name].alias_arn}"]))
    error_message = "The gateway's role."
  }
  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.operator[0].policy).Statement : [
      for action in flatten([statement.Action]) : [for resource in flatten([statement.Resource]) : "${action} ${resource}"]
      ]])) == toset(concat(
      flatten([for action in ["CancelMessageMoveTask", "ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ListMessageMoveTasks", "ReceiveMessage", "StartMessageMoveTask"] :
      [for queue in local.queues : "sqs:${action} ${queue.dead_letter.arn}"]]),
      flatten([for action in ["GetQueueAttributes", "GetQueueUrl", "SendMessage"] : [for queue in local.queues : "sqs:${action} ${queue.main.arn}"]]),
      [for access in [
        "BatchGetItem payments", "GetItem payments", "Query payments", "Query payments/index/byUser",
        "GetItem refusals", "PutItem refusals", "Query refusals", "Query refusals/index/byUser", "Query refusals/index/held", "Scan refusals/index/held",
      ] : "dynamodb:${replace(access, " ", " arn:aws:dynamodb:eu-west-2:123456789012:table/")}"],
      ["kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/queues", "kms:GenerateDataKey arn:aws:kms:eu-west-2:123456789012:key/queues", "kms:Decrypt arn:aws:kms:eu-west-2:123456789012:key/tables"],
    ))
    error_message = "The operator's role."
  }
  assert {
    condition = jsondecode(aws_iam_role.operator[0].assume_role_policy).Statement == [
      { Sid = "UsersWithSecondFactor", Effect = "Allow", Principal = { AWS = ["arn:aws:iam::123456789012:user/on-call"] }, Action = "sts:AssumeRole", Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } } },
      { Sid = "RolesOfIdentityProvider", Effect = "Allow", Principal = { AWS = ["arn:aws:iam::210987654321:root"] }, Action = "sts:AssumeRole", Condition = { ArnLike = { "aws:PrincipalArn" = ["arn:aws:iam::210987654321:role/aws-reserved/sso.amazonaws.com/eu-west-2/AWSReservedSSO_OnCall_*"] } } },
    ]
    error_message = "Operators are users with a second factor, of whom it is demanded, and roles, which could never bring one."
  }
  assert {
    condition = alltrue([for role in [aws_iam_role.gateway, aws_iam_role.gateway_logs[0]] :
      jsondecode(role.assume_role_policy).Statement == [{ Sid = "Gateway", Effect = "Allow", Principal = { Service = "apigateway.amazonaws.com" }, Action = "sts:AssumeRole" }]
    ])
    error_message = "API Gateway takes its roles without a condition: it sends no aws:SourceAccount."
  }
  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.release.policy).Statement : [
      for action in flatten([statement.Action]) : [for resource in flatten([statement.Resource]) : "${action} ${resource}"] if startswith(action, "lambda:")
      ]])) == toset(flatten([for function in module.function : [
      "lambda:GetAlias ${function.arn}",
      "lambda:GetAlias ${function.alias_arn}",
      "lambda:UpdateAlias ${function.arn}",
      "lambda:UpdateAlias ${function.alias_arn}",
      "lambda:GetProvisionedConcurrencyConfig ${function.alias_arn}",
    ]]))
    error_message = "CodeDeploy moves aliases, and is asked about the functions when it does."
  }
  assert {
    condition = alltrue(flatten([
      [for key in [aws_kms_key.queues, aws_kms_key.tables, aws_kms_key.functions, aws_kms_key.operations] : key.enable_key_rotation],
      [for policy in [aws_kms_key_policy.queues, aws_kms_key_policy.tables, aws_kms_key_policy.functions, aws_kms_key.operations] : [
        for statement in jsondecode(policy.policy).Statement : contains(["AccountAdministersKey", "AlarmsPublish"], statement.Sid) || can(statement.Condition)
      ]],
    ]))
    error_message = "Keys rotate, and but for these two serve nobody without a condition."
  }
  assert {
    condition = { for key, policy in { queues = aws_kms_key_policy.queues, tables = aws_kms_key_policy.tables, functions = aws_kms_key_policy.functions } :
      key => toset(jsondecode(policy.policy).Statement[1].Principal.AWS)
      } == {
      queues    = toset(concat(["arn:aws:iam::123456789012:role/gateway", "arn:aws:iam::123456789012:role/operator"], [for name, function in local.functions : module.function[name].role_arn if contains(function.keys, "queues")]))
      tables    = toset(concat(["arn:aws:iam::123456789012:role/operator"], [for name, function in local.functions : module.function[name].role_arn if contains(function.keys, "tables")]))
      functions = toset(values(module.function)[*].role_arn)
    }
    error_message = "A key serves the functions that use it, and no other."
  }

  # The tables.
  assert {
    condition = alltrue([for table in [aws_dynamodb_table.payments, aws_dynamodb_table.refusals] : alltrue([
      table.deletion_protection_enabled,
      one(table.point_in_time_recovery).enabled,
      one(table.point_in_time_recovery).recovery_period_in_days == 35,
      one(table.server_side_encryption).enabled,
      one(table.server_side_encryption).kms_key_arn == aws_kms_key.tables.arn,
      table.stream_enabled != true,
    ])])
    error_message = "Tables are protected, recoverable, encrypted, and copy their changes to no stream that nobody reads."
  }
  assert {
    condition     = [aws_dynamodb_table.payments.hash_key, aws_dynamodb_table.payments.range_key, aws_dynamodb_table.refusals.hash_key, aws_dynamodb_table.refusals.range_key] == ["paymentId", "userId", "userId", "paymentId#requestId"]
    error_message = "The keys are the idempotency."
  }
  assert {
    condition     = alltrue([for ttl in aws_dynamodb_table.payments.ttl : !ttl.enabled]) && one(aws_dynamodb_table.refusals.ttl).attribute_name == "expiresAt"
    error_message = "Refusals expire; payments never do."
  }
  assert {
    condition = alltrue([for index in aws_dynamodb_table.refusals.global_secondary_index :
      index.hash_key == "userId" && index.range_key == { byUser = "recordedAt", held = "heldAt" }[index.name] &&
      index.projection_type == "INCLUDE" && !contains(index.non_key_attributes, "body")
    ]) && length(aws_dynamodb_table.refusals.global_secondary_index) == 2
    error_message = "Refusals are listed by time, and apart from that those that are held; no index copies bodies."
  }
  assert {
    condition     = [for table in [aws_dynamodb_table.payments, aws_dynamodb_table.refusals] : table.billing_mode] == ["PAY_PER_REQUEST", "PAY_PER_REQUEST"] && length(aws_appautoscaling_target.table) == 0
    error_message = "On demand there is no capacity to run out of while it scales."
  }

  # The functions, and what follows from the map for each of them.
  assert {
    condition     = [local.queue_functions, local.gateway_functions, keys(local.queues)] == [["submit-payments"], ["query-payments"], ["submit-payment"]]
    error_message = "These take from queues, those are asked through the gateway, and these are the queues."
  }
  assert {
    condition = { for name, function in module.function : name => function.release_alarms } == {
      for name in keys(local.functions) : name => toset([for alarm in concat(
        ["${name}-errors"],
        contains(local.queue_functions, name) ? ["${name}-dead-lettered"] : [],
        [for queue, taken in local.queues : "${queue}-queue-late" if taken.function == name],
      ) : "remit-production-${alarm}"])
    }
    error_message = "A release is taken back by its own function's alarms, and by no other's."
  }
  assert {
    condition     = alltrue([for function in module.function : length(function.release_alarms) >= 1 && length(function.release_alarms) <= 10])
    error_message = "CodeDeploy watches at most ten alarms of a function."
  }
  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.release.policy).Statement : statement.Resource if statement.Sid == "WatchAlarms"])) == toset([
      for alarm in flatten([for function in module.function : tolist(function.release_alarms)]) : "arn:aws:cloudwatch:eu-west-2:123456789012:alarm:${alarm}"
    ])
    error_message = "CodeDeploy may look at the alarms that it watches."
  }
  assert {
    condition = alltrue([for name, function in module.function : alltrue([
      contains([for widget in local.widgets : widget.title], "Function: ${name}"),
      contains(aws_cloudwatch_query_definition.one_payment.log_group_names, function.log_group_name),
      output.releases.functions[function.name] == function.deployment_group_name,
    ])])
    error_message = "Every function has its graph, its logs in the saved query, and is known to scripts/release."
  }

  # Who gets up.
  assert {
    condition = toset([for key, alarm in local.alarms : "${key} > ${alarm.threshold}" if alarm.kind == "page"]) == toset(concat(
      flatten([for name in local.queue_functions : ["${name}-errors > 0.01", "${name}-throttles > 0", "${name}-dead-lettered > 0"]]),
      [for name in keys(local.queues) : "${name}-dlq-waiting > 0"],
      [
        "submit-payment-queue-late > 300",
        "unverified-messages > 0",
        "owner-mismatch-rate > 20",
        "submissions-failing > 0.005",
        "submissions-mostly-refused > 0.5",
        "submissions-none-accepted > 0",
        "questions-failing > 0.05",
        "payments-table-errors > 0",
        "refusals-table-errors > 0",
        "payments-table-writes-throttled > 0",
        "payments-index-writes-throttled > 0",
        "refusals-table-writes-throttled > 0",
        "refusals-index-writes-throttled > 0",
        "held-index-writes-throttled > 0",
      ],
    ))
    error_message = "Pages."
  }
  assert {
    condition = toset([for key, alarm in local.alarms : "${key} > ${alarm.threshold}" if alarm.kind == "ticket"]) == toset(concat(
      flatten([for name in local.gateway_functions : ["${name}-errors > 0.01", "${name}-throttles > 0"]]),
      [for name in keys(local.queues) : "${name}-dlq-ageing > 604800"],
      [
        "query-payments-nearly-full > 240",
        "submit-payments-slow > 9600",
        "owner-mismatches > 0",
        "conflicts > 5",
        "submissions-refused > 0.1",
        "payments-table-reads-throttled > 0",
        "payments-index-reads-throttled > 0",
        "refusals-table-reads-throttled > 0",
        "refusals-index-reads-throttled > 0",
        "held-index-reads-throttled > 0",
      ],
    ))
    error_message = "Tickets."
  }
  assert {
    condition = alltrue(concat(
      [for key, alarm in local.alarms : aws_cloudwatch_metric_alarm.this[key].alarm_actions == toset([alarm.kind == "page" ? aws_sns_topic.page.arn : aws_sns_topic.ticket.arn])],
      [for alarm in aws_cloudwatch_metric_alarm.capacity : alarm.alarm_actions == toset([aws_sns_topic.ticket.arn])],
    )) && aws_sns_topic.page.arn != aws_sns_topic.ticket.arn && length(aws_sns_topic_subscription.page) == 1
    error_message = "Every alarm tells somebody by itself, and none hides behind another."
  }
  assert {
    condition = alltrue(concat(
      [for key, alarm in aws_cloudwatch_metric_alarm.this : endswith(alarm.alarm_description, "infra/RUNBOOKS.md#${local.runbook[key]}")],
      [for key, alarm in aws_cloudwatch_metric_alarm.capacity : endswith(alarm.alarm_description, "infra/RUNBOOKS.md#${local.runbook[key]}")],
    ))
    error_message = "Every alarm names its runbook."
  }
  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.this : key => {
      for query in alarm.metric_query : query.id => coalesce(query.expression, try("${one(query.metric).metric_name} ${one(query.metric).stat} ${try(one(query.metric).dimensions.Method, one(query.metric).dimensions.FunctionName)}", null))
      } if length(alarm.metric_query) > 0 } == merge({
      submissions-none-accepted  = { ratio = "IF((requests >= 10) AND (refused + failed >= requests), 1, 0)", requests = "Count SampleCount PUT", refused = "4XXError Sum PUT", failed = "5XXError Sum PUT" }
      submissions-mostly-refused = { ratio = "IF(requests >= 20, refused / requests, 0)", requests = "Count SampleCount PUT", refused = "4XXError Sum PUT", failed = "5XXError Sum PUT" }
      }, { for name in keys(local.functions) : "${name}-errors" => {
        ratio = "IF(errors >= 2, errors / invocations, 0)", errors = "Errors Sum remit-production-${name}", invocations = "Invocations Sum remit-production-${name}"
    } }) && alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length([for query in alarm.metric_query : query.id if query.return_data == true]) <= 1])
    error_message = "What is a ratio is alarmed as one."
  }
  assert {
    condition     = aws_api_gateway_method_settings.all.settings[0].metrics_enabled && aws_api_gateway_method_settings.submit.settings[0].metrics_enabled
    error_message = "Without them a method has no metrics, and its alarms never go off."
  }
}

# Also lets the test run take down what the run above has made.
run "without_protection_queues_and_keys_may_go" {
  variables {
    deletion_protection = false
  }
  assert {
    condition     = length(terraform_data.protection) == 4 + 2 * length(local.queues) && alltrue([for protection in terraform_data.protection : protection.output == false])
    error_message = "The protection is lifted by an apply."
  }
}

run "accounts_differ_in_quotas_and_identity_providers" {
  command = plan
  variables {
    submit_payments_reserved_concurrency = null
    query_payments_reserved_concurrency  = null
    operator_user_arns                   = []
    operator_session_tag                 = { key = "team", value = "payments" }
  }
  assert {
    condition     = alltrue([for reserved in values(module.function)[*].reserved_concurrency : coalesce(reserved, -1) == -1])
    error_message = "A new account has no concurrency to divide."
  }
  assert {
    condition = jsonencode(one(jsondecode(aws_iam_role.operator[0].assume_role_policy).Statement).Condition) == jsonencode({
      ArnLike      = { "aws:PrincipalArn" = var.operator_role_arns }
      StringEquals = { "aws:PrincipalTag/team" = "payments" }
    })
    error_message = "Where the identity provider tags its operators, the tag is demanded."
  }
}

run "stopped_intake_answers_503_with_retry_after" {
  command = plan
  variables {
    intake_stopped = true
  }
  assert {
    condition     = aws_api_gateway_method_settings.submit.settings[0].throttling_rate_limit == 0 && aws_api_gateway_method_settings.submit.settings[0].throttling_burst_limit == 0
    error_message = "Nothing passes."
  }
  assert {
    condition = [
      jsondecode(aws_api_gateway_rest_api.payments.body)["x-amazon-apigateway-gateway-responses"].THROTTLED.statusCode,
      jsondecode(aws_api_gateway_rest_api.payments.body)["x-amazon-apigateway-gateway-responses"].THROTTLED.responseParameters["gatewayresponse.header.Retry-After"],
    ] == ["503", "'60'"]
    error_message = "The answer is 503 with Retry-After."
  }
  assert {
    condition     = jsondecode(aws_api_gateway_rest_api.payments.body).paths == local.parsed_document.paths
    error_message = "Nothing else of the document changes."
  }
}

run "provisioned_tables_scale_with_every_index" {
  command = plan
  # Tables that are not there yet: of those that are, capacities are scaled and not set.
  state_key = "provisioned"
  variables {
    table_capacity = {}
  }
  assert {
    condition = { for key, target in aws_appautoscaling_target.table : "${target.resource_id} ${target.scalable_dimension}" => [target.min_capacity, target.max_capacity] } == {
      "table/remit-production-PaymentsTable dynamodb:table:ReadCapacityUnits"               = [100, 2000]
      "table/remit-production-PaymentsTable dynamodb:table:WriteCapacityUnits"              = [715, 2000]
      "table/remit-production-PaymentsTable/index/byUser dynamodb:index:ReadCapacityUnits"  = [100, 2000]
      "table/remit-production-PaymentsTable/index/byUser dynamodb:index:WriteCapacityUnits" = [715, 2000]
      "table/remit-production-RefusalsTable dynamodb:table:ReadCapacityUnits"               = [100, 2000]
      "table/remit-production-RefusalsTable dynamodb:table:WriteCapacityUnits"              = [145, 2000]
      "table/remit-production-RefusalsTable/index/byUser dynamodb:index:ReadCapacityUnits"  = [100, 2000]
      "table/remit-production-RefusalsTable/index/byUser dynamodb:index:WriteCapacityUnits" = [145, 2000]
      "table/remit-production-RefusalsTable/index/held dynamodb:index:ReadCapacityUnits"    = [100, 2000]
      "table/remit-production-RefusalsTable/index/held dynamodb:index:WriteCapacityUnits"   = [145, 2000]
    }
    error_message = "Both tables and all indexes scale, reads and writes, from a minimum that fits the throttle."
  }
  assert {
    condition     = alltrue([for policy in aws_appautoscaling_policy.table : one(policy.target_tracking_scaling_policy_configuration).target_value == 70])
    error_message = "Scaling leaves room for a burst."
  }
  assert {
    condition = [for table in [aws_dynamodb_table.payments, aws_dynamodb_table.refusals] : [table.billing_mode, table.write_capacity]] == [["PROVISIONED", 715], ["PROVISIONED", 145]] && alltrue([
      for index in setunion(aws_dynamodb_table.payments.global_secondary_index, aws_dynamodb_table.refusals.global_secondary_index) : index.write_capacity >= 145 && index.read_capacity == 100
    ])
    error_message = "New tables and indexes begin at their minimum."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.capacity) > 0
    error_message = "What is provisioned is watched."
  }
  assert {
    condition     = toset(flatten(regexall("(?m)^### (.+)$", file("${path.module}/RUNBOOKS.md")))) == toset(values(local.runbook))
    error_message = "Every alarm has its section in RUNBOOKS.md, and every section its alarm."
  }
}

run "names_that_an_account_has_once_carry_the_region" {
  command = plan
  variables {
    region = "eu-west-1"
  }
  assert {
    condition = toset(concat([
      aws_iam_role.gateway.name, aws_iam_role.gateway_logs[0].name, aws_iam_role.release.name, aws_iam_role.operator[0].name,
      aws_cloudwatch_dashboard.this.dashboard_name,
      ], values(module.function)[*].role_name)) == toset(concat([
      "remit-production-eu-west-1-gateway", "remit-production-eu-west-1-gateway-logs", "remit-production-eu-west-1-release",
      "remit-production-eu-west-1-operator", "remit-production-eu-west-1",
    ], [for name in keys(local.functions) : "remit-production-eu-west-1-${name}"]))
    error_message = "The same environment can stand in two Regions of an account."
  }
}

run "a_custom_domain_closes_the_default_endpoint" {
  command = plan
  variables {
    custom_domain = { name = "api.pay.example.com", certificate_arn = "arn:aws:acm:eu-west-2:123456789012:certificate/1" }
  }
  assert {
    condition     = aws_api_gateway_rest_api.payments.disable_execute_api_endpoint && aws_api_gateway_domain_name.this[0].security_policy == "TLS_1_2" && output.api_url == "https://api.pay.example.com"
    error_message = "One door, TLS 1.2."
  }
  assert {
    condition     = aws_api_gateway_deployment.payments.triggers.default_endpoint_closed == "true"
    error_message = "Without a new deployment the default endpoint stays open."
  }
}
