# Every name in one place. deploy.sh uses the same ones; tests/deploy compares the two.
locals {
  function          = "${var.name}-connector"
  runtime_account   = "${var.name}-runtime"
  scheduler_account = "${var.name}-scheduler"
  build_account     = "${var.name}-build"
  repository        = "${var.name}-images"
  database          = "${var.name}-state"
  run_job           = "${var.name}-run"
  heartbeat_job     = "${var.name}-heartbeat"
  secrets = {
    CLUSTER25_CLIENT_SECRET = "${var.name}-client-secret"
    OPENCTI_TOKEN           = "${var.name}-opencti-token"
  }

  collection         = "cluster25_connector"
  rejected_group     = "rejected"
  rejected_ttl_field = "expires_at"

  entry_point         = "cluster25_connector"
  runtime             = "python313"
  memory              = "512Mi"
  cpu                 = "1"
  reserve_seconds     = 30 # between the end of the budget and the platform's timeout: commit, release, answer
  heartbeat_schedule  = "*/2 * * * *"
  run_retries         = 1
  run_backoff_seconds = 60
  images_kept         = 5

  interval_minutes = var.interval_seconds / 60
  run_schedule     = local.interval_minutes == 60 ? "0 * * * *" : "*/${local.interval_minutes} * * * *"

  apis = [
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudscheduler.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ]
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  project            = var.project_id
  service            = each.value
  disable_on_destroy = false # others in the project may use it
}
