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
    visibility_timeout_seconds = 30
  }
  expect_failures = [aws_lambda_event_source_mapping.submit_payments]
}

run "dead_letters_kept_no_longer_than_messages_are_refused" {
  command = plan
  variables {
    dead_letter_retention_seconds = 7 * 24 * 60 * 60
  }
  expect_failures = [aws_sqs_queue.dead_letter]
}

run "large_batch_without_window_is_refused" {
  command = plan
  variables {
    batch_window_seconds = 0
  }
  expect_failures = [aws_lambda_event_source_mapping.submit_payments]
}

run "more_pollers_than_reserved_concurrency_are_refused" {
  command = plan
  variables {
    maximum_concurrency = 21
  }
  expect_failures = [aws_lambda_event_source_mapping.submit_payments]
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
    receive_count_max = 3
  }
  expect_failures = [var.receive_count_max]
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
