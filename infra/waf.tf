# Rules are written out one by one: scanners do not see generated ones.
resource "aws_wafv2_web_acl" "api" {
  name        = "${local.prefix}-api"
  description = "Requests that the payment API refuses to look at"
  scope       = "REGIONAL"

  default_action {
    allow {}
  }

  # Answers of our own, in the form of every other error. The firewall cannot name the request.
  custom_response_body {
    key          = "too-many-requests"
    content_type = "APPLICATION_JSON"
    content = jsonencode({
      code      = "too_many_requests"
      message   = "Too many requests from your address. Repeat with the same paymentId."
      requestId = ""
    })
  }
  custom_response_body {
    key          = "payload-too-large"
    content_type = "APPLICATION_JSON"
    content = jsonencode({
      code      = "payload_too_large"
      message   = "The body is larger than 8 KiB."
      requestId = ""
    })
  }

  rule {
    name     = "addresses-of-bad-reputation"
    priority = 0

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        vendor_name = "AWS"
        name        = "AWSManagedRulesAmazonIpReputationList"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "addresses-of-bad-reputation"
      sampled_requests_enabled   = false
    }
  }

  # Counted only: honest users come through VPNs too.
  rule {
    name     = "anonymous-addresses"
    priority = 1

    override_action {
      count {}
    }

    statement {
      managed_rule_group_statement {
        vendor_name = "AWS"
        name        = "AWSManagedRulesAnonymousIpList"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "anonymous-addresses"
      sampled_requests_enabled   = false
    }
  }

  rule {
    name     = "requests-of-one-address"
    priority = 2

    # Not 403: a client must repeat this payment, not give it up.
    action {
      block {
        custom_response {
          response_code            = 429
          custom_response_body_key = "too-many-requests"

          response_header {
            name  = "Retry-After"
            value = "60"
          }
          response_header {
            name  = "Access-Control-Allow-Origin"
            value = var.allowed_origin
          }
          response_header {
            name  = "Access-Control-Expose-Headers"
            value = "Retry-After"
          }
        }
      }
    }

    statement {
      rate_based_statement {
        limit                 = var.address_requests_max
        evaluation_window_sec = 5 * 60
        aggregate_key_type    = "IP"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "requests-of-one-address"
      sampled_requests_enabled   = false
    }
  }

  # A payment is far smaller. A body larger than the firewall can inspect counts as a match too, or it would
  # pass uninspected.
  rule {
    name     = "large-bodies"
    priority = 3

    action {
      block {
        custom_response {
          response_code            = 413
          custom_response_body_key = "payload-too-large"

          response_header {
            name  = "Access-Control-Allow-Origin"
            value = var.allowed_origin
          }
        }
      }
    }

    statement {
      size_constraint_statement {
        comparison_operator = "GT"
        size                = 8 * 1024

        field_to_match {
          body {
            oversize_handling = "MATCH"
          }
        }

        text_transformation {
          priority = 0
          type     = "NONE"
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "large-bodies"
      sampled_requests_enabled   = false
    }
  }

  rule {
    name     = "common-attacks"
    priority = 4

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        vendor_name = "AWS"
        name        = "AWSManagedRulesCommonRuleSet"

        # Back ends often send none.
        rule_action_override {
          name = "NoUserAgent_HEADER"
          action_to_use {
            count {}
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "common-attacks"
      sampled_requests_enabled   = false
    }
  }

  rule {
    name     = "known-bad-inputs"
    priority = 5

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        vendor_name = "AWS"
        name        = "AWSManagedRulesKnownBadInputsRuleSet"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "known-bad-inputs"
      sampled_requests_enabled   = false
    }
  }

  rule {
    name     = "sql-injection"
    priority = 6

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        vendor_name = "AWS"
        name        = "AWSManagedRulesSQLiRuleSet"

        # Counted only: O'Brien is a legal reference.
        rule_action_override {
          name = "SQLi_BODY"
          action_to_use {
            count {}
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "sql-injection"
      sampled_requests_enabled   = false
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = "${local.prefix}-api"
    # Samples would keep parts of requests where no retention of ours applies.
    sampled_requests_enabled = false
  }
}

resource "aws_wafv2_web_acl_association" "api" {
  resource_arn = aws_api_gateway_stage.live.arn
  web_acl_arn  = aws_wafv2_web_acl.api.arn
}

resource "aws_wafv2_web_acl_logging_configuration" "api" {
  resource_arn            = aws_wafv2_web_acl.api.arn
  log_destination_configs = [aws_cloudwatch_log_group.firewall.arn]

  redacted_fields {
    single_header {
      name = "authorization"
    }
  }

  # What passed is in the access log.
  logging_filter {
    default_behavior = "DROP"

    filter {
      behavior    = "KEEP"
      requirement = "MEETS_ANY"

      condition {
        action_condition {
          action = "BLOCK"
        }
      }
      condition {
        action_condition {
          action = "COUNT"
        }
      }
    }
  }
}
