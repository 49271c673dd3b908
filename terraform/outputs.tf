output "function_url" {
  description = "Address of the function; callers need roles/run.invoker and, with internal ingress, a place in the project."
  value       = local.url
}

output "run_now" {
  description = "Starts a run at once, also when the function lets in nothing from outside."
  value       = "gcloud scheduler jobs run ${local.run_job} --location=${var.region} --project=${var.project_id}"
}

output "last_runs" {
  description = "Shows the last ten runs."
  value       = "gcloud logging read 'resource.labels.service_name=\"${local.function}\" AND jsonPayload.event=\"run\"' --limit=10 --format='table(timestamp,jsonPayload.outcome,jsonPayload.pushed,jsonPayload.rejected,jsonPayload.lag_seconds)' --project=${var.project_id}"
}

output "add_secret_value" {
  description = "For each secret: the command that adds a value, read from standard input."
  value = { for key, secret in google_secret_manager_secret.connector :
    key => "gcloud secrets versions add ${secret.secret_id} --data-file=- --project=${var.project_id}"
  }
}

output "dashboard_url" {
  description = "The connector's dashboard."
  value       = module.monitoring.dashboard_url
}

output "service_accounts" {
  description = "Runtime, Scheduler and build account."
  value = {
    runtime   = google_service_account.runtime.email
    scheduler = google_service_account.scheduler.email
    build     = google_service_account.build.email
  }
}

output "firestore_database" {
  description = "Database with the checkpoint; it survives terraform destroy."
  value       = google_firestore_database.state.name
}
