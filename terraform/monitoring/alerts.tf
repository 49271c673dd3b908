locals {
  three_intervals      = "${3 * var.interval_seconds}s"
  one_and_half         = "${ceil(1.5 * var.interval_seconds)}s" # holds the last run, whenever it is asked
  failed_before_alert  = 3                                      # one run and its retry may fail
  skipped_before_alert = 2 * var.interval_seconds

  alerts = {
    no_success = {
      title    = "no successful run for three intervals"
      severity = "CRITICAL"
      # vector(0): no line at all is the same as no success, also when there never was one
      query = "(sum(increase(${local.runs}{${local.selector},outcome=~\"ok|empty|partial\"}[${local.three_intervals}])) or vector(0)) == 0"
      text  = "Nothing has reached OpenCTI for ${3 * var.interval_seconds / 60} minutes. No data is lost: the next successful run goes on from the checkpoint. Look at the last runs in the log; when there are none, look at the Scheduler job and at the function's own errors."
    }
    failing = {
      title    = "runs are failing"
      severity = "ERROR"
      query    = "sum(increase(${local.runs}{${local.selector},outcome=\"failed\"}[${local.three_intervals}])) >= ${local.failed_before_alert}"
      text     = "Several runs failed in a row. The log line of each says what happened, whose side it is on (source, sink, state, configuration) and what to do."
    }
    lag = {
      title    = "OpenCTI is falling behind"
      severity = "WARNING"
      query    = "${format(local.mean["lag_seconds"], local.one_and_half, local.one_and_half)} > ${var.lag_alert_seconds}"
      text     = "Runs work but do not keep up: everything modified in Cluster25 more than ${var.lag_alert_seconds / 60} minutes ago should be in OpenCTI by now. A first import or a reset does this for a while. Otherwise look at OpenCTI's queue and workers."
    }
    rejected = {
      title    = "objects were rejected"
      severity = "WARNING"
      query    = "${format(local.sum["rejected"], "1h")} > 0"
      text     = "Some objects could not be sent. They are kept with their reason for 30 days and shown on the status page; everything else was imported."
    }
    skipped = {
      title    = "runs are being skipped"
      severity = "ERROR"
      query    = "${format(local.mean["skipped_for_seconds"], local.one_and_half, local.one_and_half)} > ${local.skipped_before_alert}"
      text     = "Runs have been skipped for more than two intervals: another run holds the lease, or OpenCTI's queue is above its threshold. The log line of each run says which."
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  project      = var.project_id
  display_name = "Cluster25 connector: ${each.value}"
  type         = "email"

  labels = {
    email_address = each.value
  }
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.alerts

  project               = var.project_id
  display_name          = "Cluster25 connector (${var.name}): ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = "60s"
      evaluation_interval       = "60s"
      disable_metric_validation = true # a metric has no data until the first run
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.text
  }

  depends_on = [google_logging_metric.runs, google_logging_metric.number]
}
