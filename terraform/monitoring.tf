module "monitoring" {
  source = "./monitoring"

  project_id         = var.project_id
  function           = local.function
  name               = var.name
  interval_seconds   = var.interval_seconds
  run_budget_seconds = var.run_budget_seconds
  lag_alert_seconds  = var.lag_alert_seconds
  alert_emails       = var.alert_emails

  depends_on = [google_project_service.api]
}
