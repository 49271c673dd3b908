# What is refused at plan, before anything is made.

mock_provider "google" {}
mock_provider "archive" {}

variables {
  project_id          = "my-project"
  opencti_url         = "https://opencti.example.com"
  connector_id        = "0b1e6a36-5a4f-4c29-9d0a-6c1f6e0f3a11"
  cluster25_client_id = "client"
}

run "budget_that_leaves_no_reserve" {
  command = plan
  variables {
    run_budget_seconds = 510
  }
  expect_failures = [google_cloudfunctions2_function.connector]
}

run "deadline_shorter_than_the_function" {
  command = plan
  variables {
    attempt_deadline_seconds = 500
  }
  expect_failures = [google_cloudfunctions2_function.connector]
}

run "lease_shorter_than_the_function" {
  command = plan
  variables {
    lease_seconds = 539
  }
  expect_failures = [google_cloudfunctions2_function.connector]
}

run "schedule_that_cron_cannot_say" {
  command = plan
  variables {
    interval_seconds = 420
  }
  expect_failures = [var.interval_seconds]
}

run "function_slower_than_scheduler_can_wait" {
  command = plan
  variables {
    function_timeout_seconds = 1801
  }
  expect_failures = [var.function_timeout_seconds]
}

run "latest_is_no_version" {
  command = plan
  variables {
    opencti_token_version = "latest"
  }
  expect_failures = [var.opencti_token_version]
}

run "connector_id_is_a_uuid" {
  command = plan
  variables {
    connector_id = "ChangeMe"
  }
  expect_failures = [var.connector_id]
}

run "opencti_over_plain_http" {
  command = plan
  variables {
    opencti_url = "http://opencti.example.com"
  }
  expect_failures = [var.opencti_url]
}

run "secret_among_the_settings" {
  command = plan
  variables {
    settings = { OPENCTI_TOKEN = "in the state for good" }
  }
  expect_failures = [var.settings]
}

run "name_too_long_for_an_account" {
  command = plan
  variables {
    name = "cluster25-with-a-long-tail"
  }
  expect_failures = [var.name]
}
