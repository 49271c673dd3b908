resource "google_firestore_database" "state" {
  project     = var.project_id
  name        = local.database
  location_id = var.firestore_location != "" ? var.firestore_location : var.region
  type        = "FIRESTORE_NATIVE"

  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  deletion_policy                   = "ABANDON" # terraform destroy leaves the data

  depends_on = [google_project_service.api]
}

resource "google_firestore_field" "rejected_ttl" {
  project    = var.project_id
  database   = google_firestore_database.state.name
  collection = local.rejected_group
  field      = local.rejected_ttl_field

  ttl_config {}
}
