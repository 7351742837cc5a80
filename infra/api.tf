locals {
  api_name   = "${local.prefix}-payments"
  stage_name = "live"

  # The one document, which the local gateway serves too. Nothing of it is restated here.
  document = templatefile("${path.module}/../schema/payment-api.yaml", merge({
    partition        = local.partition
    region           = var.region
    account_id       = var.account_id
    queue_name       = module.submit_payment_queue.main.name
    gateway_role_arn = aws_iam_role.gateway.arn
    user_pool_arn    = aws_cognito_user_pool.users.arn
    allowed_origin   = var.allowed_origin
  }, { for name in local.gateway_functions : "${replace(name, "-", "_")}_arn" => module.function[name].alias_arn }))

  # Stopped intake: everything is throttled, and throttled requests get the document's answer for a queue
  # that is not available, with a longer wait.
  parsed_document   = yamldecode(local.document)
  gateway_responses = local.parsed_document["x-amazon-apigateway-gateway-responses"]
  document_stopped = jsonencode(merge(local.parsed_document, {
    "x-amazon-apigateway-gateway-responses" = merge(local.gateway_responses, {
      THROTTLED = merge(local.gateway_responses.INTEGRATION_FAILURE, {
        responseParameters = merge(local.gateway_responses.INTEGRATION_FAILURE.responseParameters, {
          "gatewayresponse.header.Retry-After" = "'60'"
        })
      })
    })
  }))
}

resource "aws_api_gateway_rest_api" "payments" {
  name = local.api_name
  # JSON has no anchors: Terraform resolves the document's, because API Gateway is not known to.
  body = var.intake_stopped ? local.document_stopped : jsonencode(local.parsed_document)
  # What the document no longer names goes; a merge would keep it.
  put_rest_api_mode            = "overwrite"
  disable_execute_api_endpoint = var.custom_domain != null

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_deployment" "payments" {
  rest_api_id = aws_api_gateway_rest_api.payments.id

  # Without a trigger a changed document would never be deployed, and the default endpoint stay open beside a
  # custom domain.
  triggers = {
    document                = sha256(aws_api_gateway_rest_api.payments.body)
    default_endpoint_closed = aws_api_gateway_rest_api.payments.disable_execute_api_endpoint
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "live" {
  # checkov:skip=CKV_AWS_120:The API answers writes, and reads that must be fresh; a cache would answer with the past.
  # checkov:skip=CKV2_AWS_51:Clients are people's browsers and back ends, authenticated by tokens; client certificates would be a second identity.
  rest_api_id          = aws_api_gateway_rest_api.payments.id
  deployment_id        = aws_api_gateway_deployment.payments.id
  stage_name           = local.stage_name
  xray_tracing_enabled = true

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    # Ids and outcomes only: no address, no user, no query string.
    format = jsonencode({
      requestId          = "$context.extendedRequestId"
      requestTime        = "$context.requestTime"
      httpMethod         = "$context.httpMethod"
      resourcePath       = "$context.resourcePath"
      status             = "$context.status"
      errorType          = "$context.error.responseType"
      integrationStatus  = "$context.integration.status"
      integrationLatency = "$context.integration.latency"
      responseLatency    = "$context.responseLatency"
      responseLength     = "$context.responseLength"
      wafStatus          = "$context.waf.status"
      traceId            = "$context.xrayTraceId"
    })
  }

  depends_on = [aws_api_gateway_account.this]
}

resource "aws_api_gateway_method_settings" "all" {
  # checkov:skip=CKV_AWS_225:As for the stage: no answer may come from the past.
  rest_api_id = aws_api_gateway_rest_api.payments.id
  stage_name  = aws_api_gateway_stage.live.stage_name
  method_path = "*/*"

  settings {
    metrics_enabled = true
    logging_level   = "ERROR"
    # Would write bodies and tokens to a log.
    data_trace_enabled     = false
    throttling_rate_limit  = var.throttle_rate
    throttling_burst_limit = var.throttle_burst
  }

  # API Gateway makes its log group itself as soon as it has something to log.
  depends_on = [aws_cloudwatch_log_group.execution]
}

resource "aws_api_gateway_method_settings" "submit" {
  # checkov:skip=CKV_AWS_225:As for the stage: no answer may come from the past.
  rest_api_id = aws_api_gateway_rest_api.payments.id
  stage_name  = aws_api_gateway_stage.live.stage_name
  method_path = "submit/PUT"

  settings {
    metrics_enabled        = true
    logging_level          = "ERROR"
    data_trace_enabled     = false
    throttling_rate_limit  = var.intake_stopped ? 0 : var.throttle_rate
    throttling_burst_limit = var.intake_stopped ? 0 : var.throttle_burst
  }

  # One path's settings are written after those for all.
  depends_on = [aws_api_gateway_method_settings.all]
}
