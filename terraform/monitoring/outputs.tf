output "dashboard_url" {
  description = "The connector's dashboard."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${element(split("/", google_monitoring_dashboard.connector.id), -1)}?project=${var.project_id}"
}

output "metrics" {
  description = "Names of the log-based metrics."
  value       = concat([google_logging_metric.runs.name], [for metric in google_logging_metric.number : metric.name])
}
