locals {
  root = abspath("${path.module}/..")

  # The same files that .gcloudignore lets through.
  source_files = setsubtract(
    setunion(fileset(local.root, "{main.py,requirements.txt}"), fileset(local.root, "cluster25/**")),
    fileset(local.root, "cluster25/**/__pycache__/**"),
  )

  environment = merge(var.settings, {
    CLUSTER25_CLIENT_ID      = var.cluster25_client_id
    CLUSTER25_INTERVAL_SEC   = tostring(var.interval_seconds)
    CLUSTER25_LEASE_SEC      = tostring(var.lease_seconds)
    CLUSTER25_RUN_BUDGET_SEC = tostring(var.run_budget_seconds)
    CONNECTOR_ID             = var.connector_id
    FIRESTORE_COLLECTION     = local.collection
    FIRESTORE_DATABASE       = local.database
    FIRESTORE_PROJECT        = var.project_id
    GOOGLE_CLOUD_PROJECT     = var.project_id # log lines name their trace with it
    LOG_EXECUTION_ID         = "true"
    OPENCTI_URL              = var.opencti_url
    STATE_STORE              = "firestore"
  })

  secret_versions = {
    CLUSTER25_CLIENT_SECRET = var.cluster25_client_secret_version
    OPENCTI_TOKEN           = var.opencti_token_version
  }
}

data "archive_file" "source" {
  type             = "zip"
  output_path      = "${path.module}/.terraform/source.zip"
  output_file_mode = "0644"

  dynamic "source" {
    for_each = local.source_files

    content {
      filename = source.value
      content  = file("${local.root}/${source.value}")
    }
  }
}

resource "google_storage_bucket" "source" {
  # checkov:skip=CKV_GCP_62:No access log: the bucket holds the published source only, and a log needs a second bucket.
  project                     = var.project_id
  name                        = "${var.project_id}-${var.name}-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # the source is in git

  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      num_newer_versions = local.images_kept
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_object" "source" {
  name   = "${local.function}-${data.archive_file.source.output_md5}.zip"
  bucket = google_storage_bucket.source.name
  source = data.archive_file.source.output_path
}

resource "google_artifact_registry_repository" "images" {
  # checkov:skip=CKV_GCP_84:Google-managed encryption; the images hold published source and no secret.
  project       = var.project_id
  location      = var.region
  repository_id = local.repository
  description   = "Images that the build of the Cluster25 connector makes"
  format        = "DOCKER"

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = local.images_kept
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "2592000s" # 30 days
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_cloudfunctions2_function" "connector" {
  project     = var.project_id
  name        = local.function
  location    = var.region
  description = "Cluster25 threat intelligence into OpenCTI"

  build_config {
    runtime           = local.runtime
    entry_point       = local.entry_point
    docker_repository = google_artifact_registry_repository.images.id
    service_account   = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = local.memory
    available_cpu                    = local.cpu
    timeout_seconds                  = var.function_timeout_seconds
    min_instance_count               = 0
    max_instance_count               = 1 # thrift; what keeps two runs apart is the lease in the state store
    max_instance_request_concurrency = 1
    ingress_settings                 = var.ingress == "all" ? "ALLOW_ALL" : "ALLOW_INTERNAL_ONLY"
    all_traffic_on_latest_revision   = true
    service_account_email            = google_service_account.runtime.email
    environment_variables            = local.environment

    dynamic "secret_environment_variables" {
      for_each = local.secret_versions

      content {
        key        = secret_environment_variables.key
        project_id = var.project_id
        secret     = google_secret_manager_secret.connector[secret_environment_variables.key].secret_id
        version    = secret_environment_variables.value
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.run_budget_seconds + local.reserve_seconds < var.function_timeout_seconds
      error_message = "run_budget_seconds + ${local.reserve_seconds} must be less than function_timeout_seconds, or runs are cut off before they can commit."
    }
    precondition {
      condition     = var.function_timeout_seconds <= var.attempt_deadline_seconds
      error_message = "function_timeout_seconds must not exceed attempt_deadline_seconds, or Cloud Scheduler tries again while a run still works."
    }
    precondition {
      condition     = var.lease_seconds >= var.function_timeout_seconds
      error_message = "lease_seconds must be at least function_timeout_seconds, or a second run starts while the first still works."
    }
  }

  # The first build needs its account's roles, the first call the state and the secrets.
  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_firestore_field.rejected_ttl,
    google_project_iam_member.build_logs,
    google_project_iam_member.build_source,
    google_project_iam_member.runtime_state,
    google_secret_manager_secret_iam_member.runtime,
  ]
}
