# Three accounts, so that what runs cannot deploy, what deploys cannot read secrets, and what calls can only call.

resource "google_service_account" "runtime" {
  project      = var.project_id
  account_id   = local.runtime_account
  display_name = "Cluster25 connector: runs the function"

  depends_on = [google_project_service.api]
}

resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = local.scheduler_account
  display_name = "Cluster25 connector: calls the function"

  depends_on = [google_project_service.api]
}

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = local.build_account
  display_name = "Cluster25 connector: builds the function"

  depends_on = [google_project_service.api]
}

# Firestore has no policy of its own: a role of the project, narrowed to the one database.
resource "google_project_iam_member" "runtime_state" {
  project = var.project_id
  role    = "roles/datastore.user"
  member  = google_service_account.runtime.member

  condition {
    title      = "${local.database}-only"
    expression = "resource.name==\"projects/${var.project_id}/databases/${local.database}\""
  }
}

resource "google_secret_manager_secret_iam_member" "runtime" {
  for_each = google_secret_manager_secret.connector

  project   = var.project_id
  secret_id = each.value.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.runtime.member
}

resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.connector.name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

# A build has no resource of its own to write logs to.
resource "google_project_iam_member" "build_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

# The platform copies the source into a bucket that it makes with the first function of the region, so the bucket
# may not be there yet: a role of the project, narrowed to buckets of that kind.
resource "google_project_iam_member" "build_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title      = "function-sources-only"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
  }
}

resource "google_artifact_registry_repository_iam_member" "build" {
  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}
