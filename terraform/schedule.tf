locals {
  # The run.app address: with internal ingress the only one that lets Cloud Scheduler in.
  url = google_cloudfunctions2_function.connector.service_config[0].uri
}

resource "google_cloud_scheduler_job" "run" {
  project          = var.project_id
  region           = var.region
  name             = local.run_job
  description      = "Imports what Cluster25 changed since the last run"
  schedule         = local.run_schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${var.attempt_deadline_seconds}s"

  retry_config {
    retry_count          = local.run_retries
    min_backoff_duration = "${local.run_backoff_seconds}s"
  }

  http_target {
    http_method = "POST"
    uri         = "${local.url}/"

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = local.url # without the path, or Cloud Run answers 401
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}

resource "google_cloud_scheduler_job" "heartbeat" {
  project          = var.project_id
  region           = var.region
  name             = local.heartbeat_job
  description      = "Shows OpenCTI that the connector is alive, and adopts a reset"
  schedule         = local.heartbeat_schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${var.attempt_deadline_seconds}s" # a heartbeat that adopts a reset runs at once

  retry_config {
    retry_count = 0 # the next one comes before a retry would help
  }

  http_target {
    http_method = "POST"
    uri         = "${local.url}/heartbeat"

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = local.url
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}
