locals {
  interval = "${var.interval_seconds}s"

  day = [
    { title = "Objects pushed, 24 h", query = format(local.sum["pushed"], "24h") },
    { title = "Objects rejected, 24 h", query = format(local.sum["rejected"], "24h") },
    { title = "Runs failed, 24 h", query = "sum(increase(${local.runs}{${local.selector},outcome=\"failed\"}[24h])) or vector(0)" },
    { title = "Lag, seconds", query = format(local.mean["lag_seconds"], local.one_and_half, local.one_and_half) },
  ]

  scorecards = [for i, card in local.day : {
    xPos = 12 * i, yPos = 8, width = 12, height = 8
    widget = {
      title     = card.title
      scorecard = { timeSeriesQuery = { prometheusQuery = card.query } }
    }
  }]

  charts = [for i, chart in [
    {
      title      = "Runs by outcome", plot = "STACKED_BAR", legend = "$${outcome}"
      query      = "sum by (outcome) (increase(${local.runs}{${local.selector}}[${local.interval}]))"
      thresholds = []
    },
    {
      title      = "Objects pushed", plot = "STACKED_BAR", legend = "pushed"
      query      = format(local.sum["pushed"], local.interval)
      thresholds = []
    },
    {
      title      = "Lag, seconds (red: alert)", plot = "LINE", legend = "lag"
      query      = format(local.mean["lag_seconds"], local.one_and_half, local.one_and_half)
      thresholds = [{ value = var.lag_alert_seconds }]
    },
    {
      title      = "Duration, seconds (red: run budget)", plot = "LINE", legend = "duration"
      query      = format(local.mean["duration_seconds"], local.one_and_half, local.one_and_half)
      thresholds = [{ value = var.run_budget_seconds }]
    },
    ] : {
    xPos = 24 * (i % 2), yPos = 16 + 16 * floor(i / 2), width = 24, height = 16
    widget = {
      title = chart.title
      xyChart = {
        dataSets = [{
          timeSeriesQuery = { prometheusQuery = chart.query }
          plotType        = chart.plot
          targetAxis      = "Y1"
          legendTemplate  = chart.legend
        }]
        thresholds = chart.thresholds
        yAxis      = { scale = "LINEAR" }
      }
    }
  }]

  header = {
    xPos = 0, yPos = 0, width = 24, height = 8
    widget = {
      title = "How to read this"
      text = {
        format  = "MARKDOWN"
        content = "A run every ${var.interval_seconds / 60} minutes. **ok**, **empty** and **partial** are healthy; **skipped** is normal while another run works; **failed** names its remedy in the log below. Lag is how far OpenCTI is behind Cluster25."
      }
    }
  }

  incidents = {
    xPos = 24, yPos = 0, width = 24, height = 8
    widget = {
      title        = "Open alerts"
      incidentList = { policyNames = [for policy in google_monitoring_alert_policy.alert : policy.name] }
    }
  }

  log = {
    xPos = 0, yPos = 48, width = 48, height = 20
    widget = {
      title = "Runs, warnings and errors"
      logsPanel = {
        filter        = "${local.service_filter} AND (jsonPayload.event=\"run\" OR severity>=WARNING)"
        resourceNames = ["projects/${var.project_id}"]
      }
    }
  }
}

resource "google_monitoring_dashboard" "connector" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName  = "Cluster25 connector (${var.name})"
    mosaicLayout = { columns = 48, tiles = concat([local.header, local.incidents], local.scorecards, local.charts, [local.log]) }
  })

  depends_on = [google_logging_metric.runs, google_logging_metric.number]
}
