# Needs no project and no credentials: the provider is mocked. Run with: terraform test (1.7 or later)

mock_provider "google" {
  mock_resource "google_cloudfunctions2_function" {
    defaults = {
      service_config = {
        uri = "https://connector-x1-ew.a.run.app"
      }
    }
  }
  mock_resource "google_service_account" {
    defaults = {
      id     = "projects/my-project/serviceAccounts/mock@my-project.iam.gserviceaccount.com"
      member = "serviceAccount:mock@my-project.iam.gserviceaccount.com"
    }
  }
  mock_resource "google_monitoring_dashboard" {
    defaults = { id = "projects/1/dashboards/d1" }
  }
}

mock_provider "archive" {}

variables {
  project_id          = "my-project"
  opencti_url         = "https://opencti.example.com"
  connector_id        = "0b1e6a36-5a4f-4c29-9d0a-6c1f6e0f3a11"
  cluster25_client_id = "client"
}

run "scheduler_calls_the_run_app_url_as_its_own_account" {
  command = apply

  assert {
    condition     = google_cloud_scheduler_job.run.http_target[0].uri == "https://connector-x1-ew.a.run.app/"
    error_message = "the run job must POST to / at the run.app address"
  }
  assert {
    condition     = google_cloud_scheduler_job.heartbeat.http_target[0].uri == "https://connector-x1-ew.a.run.app/heartbeat"
    error_message = "the heartbeat job must POST to /heartbeat"
  }
  assert {
    condition = alltrue([for job in [google_cloud_scheduler_job.run, google_cloud_scheduler_job.heartbeat] :
      job.http_target[0].oidc_token[0].audience == "https://connector-x1-ew.a.run.app" && job.http_target[0].http_method == "POST"
    ])
    error_message = "the audience is the address without a path, or Cloud Run answers 401"
  }
  assert {
    condition     = google_cloud_scheduler_job.run.schedule == "*/10 * * * *" && google_cloud_scheduler_job.heartbeat.schedule == "*/2 * * * *"
    error_message = "a run every 10 minutes, a heartbeat every 2"
  }
  assert {
    condition     = google_cloud_scheduler_job.run.attempt_deadline == "600s" && google_cloud_scheduler_job.heartbeat.attempt_deadline == "600s"
    error_message = "Scheduler must wait for as long as the function may take"
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.scheduler.role == "roles/run.invoker"
    error_message = "the Scheduler account may invoke, nothing else"
  }
}

run "function_is_private_small_and_alone" {
  command = plan

  assert {
    condition = (
      google_cloudfunctions2_function.connector.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY" &&
      google_cloudfunctions2_function.connector.service_config[0].max_instance_count == 1 &&
      google_cloudfunctions2_function.connector.service_config[0].max_instance_request_concurrency == 1 &&
      google_cloudfunctions2_function.connector.service_config[0].available_memory == "512Mi" &&
      google_cloudfunctions2_function.connector.service_config[0].timeout_seconds == 540
    )
    error_message = "internal ingress, one instance, one request at a time, 512Mi, 540 s"
  }
  assert {
    condition = toset([for secret in google_cloudfunctions2_function.connector.service_config[0].secret_environment_variables :
    "${secret.key}=${secret.secret}:${secret.version}"]) == toset(["CLUSTER25_CLIENT_SECRET=cluster25-client-secret:1", "OPENCTI_TOKEN=cluster25-opencti-token:1"])
    error_message = "both secrets come from Secret Manager in a numbered version"
  }
  assert {
    condition = (
      google_cloudfunctions2_function.connector.service_config[0].environment_variables["STATE_STORE"] == "firestore" &&
      google_cloudfunctions2_function.connector.service_config[0].environment_variables["FIRESTORE_DATABASE"] == google_firestore_database.state.name
    )
    error_message = "the function keeps its state in the database made here"
  }
}

run "state_is_protected" {
  command = plan

  assert {
    condition = (
      google_firestore_database.state.delete_protection_state == "DELETE_PROTECTION_ENABLED" &&
      google_firestore_database.state.point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_ENABLED" &&
      google_firestore_database.state.deletion_policy == "ABANDON"
    )
    error_message = "terraform destroy must leave the data, and a slip must be recoverable"
  }
  assert {
    condition     = google_firestore_field.rejected_ttl.collection == "rejected" && google_firestore_field.rejected_ttl.field == "expires_at"
    error_message = "rejected objects expire by expires_at"
  }
  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.connector : secret.deletion_protection])
    error_message = "terraform destroy must not take the secrets' values"
  }
}

run "runtime_account_reaches_one_database_and_two_secrets" {
  command = plan

  assert {
    condition     = google_project_iam_member.runtime_state.condition[0].expression == "resource.name==\"projects/my-project/databases/cluster25-state\""
    error_message = "roles/datastore.user must be limited to the connector's database"
  }
  assert {
    condition     = toset([for grant in google_secret_manager_secret_iam_member.runtime : grant.secret_id]) == toset(["cluster25-client-secret", "cluster25-opencti-token"])
    error_message = "secretAccessor on each secret, not on the project"
  }
}

run "only_what_the_function_needs_is_shipped" {
  command = plan

  assert {
    condition     = length(setintersection(local.source_files, ["main.py", "requirements.txt", "cluster25/clock.py"])) >= 2
    error_message = "requirements.txt and the package must be shipped"
  }
  assert {
    condition     = alltrue([for file in local.source_files : can(regex("^(main\\.py|requirements\\.txt|cluster25/.+)$", file)) && !endswith(file, ".pyc")])
    error_message = "something else than main.py, requirements.txt and cluster25/ would be shipped"
  }
}

run "second_deployment_shares_nothing" {
  command = plan

  variables {
    name     = "cluster25-hashes"
    settings = { CLUSTER25_INDICATOR_TYPES = "md5,sha1,sha256" }
  }

  assert {
    condition = alltrue([for name in [
      google_cloudfunctions2_function.connector.name, google_service_account.runtime.account_id,
      google_service_account.scheduler.account_id, google_service_account.build.account_id,
      google_firestore_database.state.name, google_cloud_scheduler_job.run.name, google_cloud_scheduler_job.heartbeat.name,
      google_artifact_registry_repository.images.repository_id,
    ] : startswith(name, "cluster25-hashes-")])
    error_message = "every name starts with var.name"
  }
}

run "ingress_can_be_widened" {
  command = plan

  variables {
    ingress = "all"
  }

  assert {
    condition     = google_cloudfunctions2_function.connector.service_config[0].ingress_settings == "ALLOW_ALL"
    error_message = "ingress = all"
  }
}
