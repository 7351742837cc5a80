# Values that must not be applied together, and values that must not be applied at all.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  account_id = "123456789012"
}

run "visibility_below_six_timeouts_and_the_window_is_refused" {
  command = plan
  variables {
    submit_payment_queue_visibility_timeout_seconds = 30
  }
  expect_failures = [aws_lambda_event_source_mapping.this]
}

run "dead_letters_kept_no_longer_than_messages_are_refused" {
  command = plan
  # A failure inside a module cannot be expected from outside.
  module {
    source = "./modules/queue"
  }
  variables {
    name                          = "some"
    key_arn                       = "arn:aws:kms:eu-west-2:123456789012:key/1"
    retention_seconds             = 7 * 24 * 60 * 60
    dead_letter_retention_seconds = 7 * 24 * 60 * 60
    visibility_timeout_seconds    = 2 * 60
    receive_count_max             = 5
    sender_arns                   = []
    dead_letter_sender_arns       = []
  }
  expect_failures = [aws_sqs_queue.dead_letter]
}

run "large_batch_without_window_is_refused" {
  command = plan
  variables {
    submit_payments_batch_window_seconds = 0
  }
  expect_failures = [aws_lambda_event_source_mapping.this]
}

run "more_pollers_than_reserved_concurrency_are_refused" {
  command = plan
  variables {
    submit_payments_maximum_concurrency = 21
  }
  expect_failures = [aws_lambda_event_source_mapping.this]
}

run "provisioned_writes_below_the_throttle_are_refused" {
  command = plan
  variables {
    table_capacity = { payments = { write_min = 714 } }
  }
  expect_failures = [var.table_capacity]
}

run "a_minimum_above_its_maximum_is_refused" {
  command = plan
  variables {
    table_capacity = { refusals = { read_min = 3000 } }
  }
  expect_failures = [var.table_capacity]
}

run "three_receives_are_refused" {
  command = plan
  variables {
    submit_payment_queue_receive_count_max = 3
  }
  expect_failures = [var.submit_payment_queue_receive_count_max]
}

run "a_wildcard_origin_is_refused" {
  command = plan
  variables {
    allowed_origin = "*"
  }
  expect_failures = [var.allowed_origin]
}

run "a_release_all_at_once_is_refused" {
  command = plan
  variables {
    canary = "CodeDeployDefault.LambdaAllAtOnce"
  }
  expect_failures = [var.canary]
}

run "a_release_longer_than_anybody_waits_is_refused" {
  command = plan
  variables {
    canary = "CodeDeployDefault.LambdaLinear10PercentEvery10Minutes"
  }
  expect_failures = [var.canary]
}

run "production_that_pages_nobody_and_has_no_operator_is_refused" {
  command = plan
  variables {
    page_emails        = []
    operator_user_arns = []
    operator_role_arns = []
  }
  expect_failures = [aws_sns_topic.page, output.operator_role_arn]
}

run "operators_and_pages_that_nobody_is_are_refused" {
  command = plan
  variables {
    page_emails          = ["on-call@mail.example.com"]
    page_urls            = ["https://events.example.com/key"]
    operator_user_arns   = ["arn:aws:iam::123456789012:role/on-call"]
    operator_role_arns   = ["arn:aws:iam::123456789012:role/*"]
    operator_session_tag = { key = "team", value = "*" }
  }
  expect_failures = [var.page_emails, var.page_urls, var.operator_user_arns, var.operator_role_arns, var.operator_session_tag]
}
