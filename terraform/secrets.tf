# Terraform makes the secrets, never their values: a value in a variable would stay in the state for good.
resource "google_secret_manager_secret" "connector" {
  for_each = local.secrets

  project             = var.project_id
  secret_id           = each.value
  deletion_protection = true

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}
