mock_provider "google" {
  mock_resource "google_monitoring_dashboard" {
    defaults = { id = "projects/1/dashboards/d1" }
  }
}

variables {
  project_id   = "my-project"
  alert_emails = ["soc@example.com", "cti@example.com"]
}

run "one_metric_for_each_number_of_the_run_line" {
  command = apply
  module {
    source = "./monitoring"
  }

  assert {
    condition = toset(output.metrics) == toset([
      "cluster25/runs", "cluster25/pushed", "cluster25/rejected", "cluster25/lag_seconds", "cluster25/duration_seconds",
      "cluster25/skipped_for_seconds",
    ])
    error_message = "runs by outcome, pushed, rejected, lag, duration, skipped for"
  }
  assert {
    condition     = alltrue([for metric in google_logging_metric.number : strcontains(metric.filter, "jsonPayload.event=\"run\"")])
    error_message = "only the summary line of a run is counted"
  }
}

run "alerts_reach_every_address" {
  command = apply
  module {
    source = "./monitoring"
  }

  assert {
    condition     = toset(keys(google_monitoring_alert_policy.alert)) == toset(["no_success", "failing", "lag", "rejected", "skipped"])
    error_message = "an alert is missing"
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.alert : length(policy.notification_channels) == 2])
    error_message = "every alert goes to every address"
  }
  assert {
    condition     = google_monitoring_alert_policy.alert["no_success"].conditions[0].condition_prometheus_query_language[0].query == "(sum(increase(logging_googleapis_com:user_cluster25_runs{monitored_resource=\"cloud_run_revision\",outcome=~\"ok|empty|partial\"}[1800s])) or vector(0)) == 0"
    error_message = "no success for three intervals, also when there never was one"
  }
  assert {
    condition     = endswith(google_monitoring_alert_policy.alert["skipped"].conditions[0].condition_prometheus_query_language[0].query, "> 1200")
    error_message = "skipped for longer than two intervals"
  }
}

run "alerts_count_in_intervals" {
  command = plan
  module {
    source = "./monitoring"
  }
  variables {
    interval_seconds = 300
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.alert["no_success"].conditions[0].condition_prometheus_query_language[0].query, "[900s]")
    error_message = "three intervals of 300 s are 900 s"
  }
}

run "dashboard_fits_its_grid" {
  command = apply
  module {
    source = "./monitoring"
  }

  assert {
    condition = alltrue([for tile in jsondecode(google_monitoring_dashboard.connector.dashboard_json).mosaicLayout.tiles :
      tile.xPos + tile.width <= 48 && tile.width > 0 && tile.height > 0
    ])
    error_message = "a tile leaves the grid"
  }
  assert {
    condition     = !strcontains(google_monitoring_dashboard.connector.dashboard_json, "%s")
    error_message = "a query has no window"
  }
}
